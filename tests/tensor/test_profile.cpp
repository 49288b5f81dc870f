// Where the time goes: each stretch of it is given to the op that took it.
#include <chrono>
#include <thread>

#include "optim/adam.h"
#include "optim/sgd.h"
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/trace.h"
#include "tests/testing.h"

using namespace acinus;

static void sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

static double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// y = x. Its passes take at least so many seconds.
static Tensor slow(const char* op, const Tensor& x, double forward, double backward) {
  sleep(forward);
  return record(op, x.detach(), {x}, [backward](const Tensor& dy, Inputs& in) {
    sleep(backward);
    in[0].add_grad(dy);
  });
}

// The seconds of the rows in question. On a busy machine a sleep lasts longer than asked for, never shorter.
static double seconds(const std::vector<ProfileRow>& rows, const std::string& op, const std::string& pass = "") {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.op == op && row.pass == pass ? row.seconds : 0;
  return sum;
}

static double total(const std::vector<ProfileRow>& rows) {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.seconds;
  return sum;
}

TEST_CASE("profile: an op is given its own time, and all rows together the time that passed") {
  const Tensor x = Tensor::full({3}, 1).requires_grad();
  const double before = clock_seconds();
  Profile profile;
  const double begin = clock_seconds();
  sleep(0.03);
  {
    const Scope scope("block");
    Tensor y = slow("a", x, 0.04, 0);
    y = slow("b", y, 0, 0.05);
    y = slow("c", y, 0.06, 0.07);
    sum(y).backward();
  }
  {
    const ProfileScope profile_scope("read");
    sleep(0.08);
  }
  sleep(0.02);
  const double end = clock_seconds();
  const std::vector<ProfileRow> rows = profile.rows();
  const double after = clock_seconds();

  const std::vector<std::tuple<std::string, std::string, double>> expected = {{"outside the ops", "", 0.05},
                                                                              {"a", "fwd", 0.04},
                                                                              {"a", "bwd", 0},
                                                                              {"b", "fwd", 0},
                                                                              {"b", "bwd", 0.05},
                                                                              {"c", "fwd", 0.06},
                                                                              {"c", "bwd", 0.07},
                                                                              {"read", "", 0.08},
                                                                              {"sum", "fwd", 0},
                                                                              {"sum", "bwd", 0}};
  CHECK(rows.size() == expected.size());
  // Each has at least what it slept. None has a neighbour's: then that one would have too little, unless the total,
  // too, were more than what passed.
  for (const auto& [op, pass, slept] : expected) {
    INFO(op << " " << pass);
    CHECK(seconds(rows, op, pass) >= slept);
  }
  CHECK(total(rows) <= after - before + 1e-6);  // the sum is rounded
  CHECK(total(rows) >= end - begin - 1e-6);
  for (size_t i = 0; i < rows.size(); i++) {
    const ProfileRow& row = rows[i];
    INFO(row.op << " " << row.pass);
    if (i > 0) CHECK(row.seconds <= rows[i - 1].seconds);
    if (row.op == "outside the ops" || row.op == "read") continue;
    CHECK(row.calls == 1);
    CHECK(row.shape == (row.op == "sum" ? "()" : "(3)"));
    CHECK(row.scope == "block");
  }
}

TEST_CASE("profile: calls of one op, shape and part are one row") {
  Profile profile;
  const NoGrad no_grad;
  for (int i = 0; i < 5; i++) relu(Tensor::full({i < 3 ? 2 : 4}, 1));
  std::vector<std::string> seen;
  for (const ProfileRow& row : profile.rows()) seen.push_back(text(row.op, " ", row.shape, " ", row.calls));
  std::ranges::sort(seen);
  CHECK(seen == std::vector<std::string>{"outside the ops  0", "relu (2) 3", "relu (4) 2"});
}

TEST_CASE("profile: a backward pass that runs ops of its own keeps the rest of its time") {
  const Tensor x = Tensor::full({3}, 1).requires_grad();
  Profile profile;
  sum(record("outer", x.detach(), {x}, [](const Tensor& dy, Inputs& in) {
    sleep(0.02);
    const Scope scope("inside");
    slow("inner", dy, 0.03, 0);
    sleep(0.02);
    in[0].add_grad(dy);
  })).backward();
  const std::vector<ProfileRow> rows = profile.rows();
  CHECK(seconds(rows, "outer", "bwd") >= 0.04);
  CHECK(seconds(rows, "inner", "fwd") >= 0.03);
  for (const ProfileRow& row : rows)
    if (row.op == "outer") CHECK(row.calls == 1);
}

TEST_CASE("profile: goes on while others observe, and sees the optimisers") {
  const Tensor x = Tensor::full({3}, 1).requires_grad();
  Profile profile;
  int events = 0;
  {
    const ObserverScope other([&](const Event&) { events++; });
    Profile within;
    sum(slow("op", x, 0.01, 0.01)).backward();
    CHECK(seconds(within.rows(), "op", "fwd") >= 0.01);
  }
  CHECK(events == 6);
  const NamedTensors parameters{{"x", x}};
  clip_grad_norm(parameters, 0.1);
  Sgd(parameters).step(1);
  Adam(parameters).step(1);
  std::vector<ProfileRow> rows = profile.rows();
  CHECK(seconds(rows, "op", "fwd") >= 0.01);
  CHECK(seconds(rows, "op", "bwd") >= 0.01);
  for (const char* work : {"clip_grad_norm", "sgd", "adam"}) CHECK(seconds(rows, work) > 0);

  const size_t before = rows.size();  // what another thread runs is not seen
  std::thread([] { relu(Tensor::full({7}, 1)); }).join();
  CHECK(profile.rows().size() == before);
}

TEST_CASE("profile: the table") {
  const std::vector<ProfileRow> rows = {{"adam", "", "", "", 10, 0.5},
                                        {"conv2d", "fwd", "(2,512,512,32)", "encoder.0.conv1", 10, 2},
                                        {"conv2d", "bwd", "(2,512,512,32)", "encoder.0.conv1", 10, 4.5},
                                        {"conv_transpose2d", "fwd", "(2,512,512,32)", "decoder.3.up", 20, 1},
                                        {"outside the ops", "", "", "", 0, 2}};
  CHECK("\n" + profile_table(rows) == R"(
   share    calls  ms a call  op                     output                part of the network
  45.0 %       10    450.000  conv2d            bwd  (2,512,512,32)        encoder.0.conv1
  20.0 %       10    200.000  conv2d            fwd  (2,512,512,32)        encoder.0.conv1
  20.0 %                      outside the ops
  10.0 %       20     50.000  conv_transpose2d  fwd  (2,512,512,32)        decoder.3.up
   5.0 %       10     50.000  adam

   share  forward   backward  op
  65.0 %   20.0 %     45.0 %  conv2d
  20.0 %                      outside the ops
  10.0 %   10.0 %             conv_transpose2d
   5.0 %                      adam

10.00 s in all, 80.0 % of it accounted for
)");

  // Many rows: the shortest become one, and none is lost or wider than a screen.
  std::vector<ProfileRow> many;
  for (int i = 1; i <= 40; i++)
    many.push_back({"relu", "fwd", text("(", i, ",1000000000,1000000000,1000000000)"), std::string(200, 'x'), 2, 1});
  const std::string table = profile_table(many);
  CHECK_THAT(table, Catch::Contains("\n  40.0 %       32    500.000  others: 16\n"));
  std::istringstream lines(table);
  std::string line;
  int count = 0;
  for (; std::getline(lines, line) && !line.empty(); count++) CHECK(line.size() <= 100);
  CHECK(count == 1 + 25);
  CHECK_THAT(table, Catch::Contains("40.00 s in all, 100.0 % of it"));
  CHECK_THAT(profile_table({}), Catch::Contains("0.00 s in all"));
}
