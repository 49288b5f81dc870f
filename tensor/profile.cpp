#include "tensor/profile.h"

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <utility>

#include "tensor/tensor.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr const char* outside = "outside the ops";

void longest_first(auto& rows) {
  std::ranges::stable_sort(rows, [](auto& a, auto& b) { return a.seconds > b.seconds; });
}

// A row of either table: three numbers and their name. At most 100 columns, without trailing blanks.
std::string line(const std::string& a, const std::string& b, const std::string& c, const std::string& what) {
  std::ostringstream out;
  out << std::setw(8) << a << std::setw(9) << b << std::setw(11) << c << "  " << what;
  const std::string text = out.str().substr(0, 100);
  return text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
}

std::string name(const ProfileRow& r) {
  std::ostringstream out;
  out << std::left << std::setw(18) << r.op << std::setw(5) << r.pass << std::setw(22) << r.shape << r.scope;
  return out.str();
}

}  // namespace

Profile::Profile() : outside_{outside, "", "", ""}, observer_([this](const Event& e) { see(e); }) {}

ProfileRow& Profile::row(const Event& e, const char* pass) {
  const std::string shape = e.result ? text(e.result->shape()) : "";
  ProfileRow& row = rows_[{e.op, pass, shape, e.scope}];
  if (row.op.empty()) row = {e.op, pass, shape, e.scope};
  return row;
}

void Profile::charge(ProfileRow& row) {
  const auto now = std::chrono::steady_clock::now();
  row.seconds += std::chrono::duration<double>(now - std::exchange(last_, now)).count();
}

void Profile::see(const Event& e) {
  switch (e.when) {
    case When::begins:
      return charge(*running_.back());
    case When::gradient:
      charge(*running_.back());
      return running_.push_back(&row(e, "bwd"));
    case When::backward:
      if (running_.size() == 1) return;  // its backward pass began before the profile
      charge(*running_.back());
      running_.back()->calls++;
      return running_.pop_back();
    case When::forward:
    case When::work:
      ProfileRow& done = row(e, e.when == When::forward ? "fwd" : "");
      charge(done);
      done.calls++;
  }
}

std::vector<ProfileRow> Profile::rows() {
  charge(*running_.back());
  std::vector<ProfileRow> rows{outside_};
  for (const auto& [key, row] : rows_) rows.push_back(row);
  longest_first(rows);
  return rows;
}

std::string profile_table(const std::vector<ProfileRow>& all) {
  std::vector<ProfileRow> rows = all;
  longest_first(rows);

  struct Op {
    std::string name;
    double seconds, forward, backward;
  };
  std::vector<Op> ops;
  double total = 0, named = 0;
  for (const ProfileRow& r : rows) {
    auto op = std::ranges::find(ops, r.op, &Op::name);
    if (op == ops.end()) op = ops.insert(op, {r.op, 0, 0, 0});
    op->seconds += r.seconds;
    if (r.pass == "fwd") op->forward += r.seconds;
    if (r.pass == "bwd") op->backward += r.seconds;
    total += r.seconds;
    if (r.op != outside) named += r.seconds;
  }
  longest_first(ops);

  constexpr size_t max_rows = 25;
  if (rows.size() > max_rows) {
    ProfileRow others{text("others: ", rows.size() - max_rows + 1), "", "", ""};
    for (; rows.size() >= max_rows; rows.pop_back()) {
      others.calls += rows.back().calls;
      others.seconds += rows.back().seconds;
    }
    rows.push_back(others);
  }

  const auto percent = [&](double seconds) { return fixed(total > 0 ? 100 * seconds / total : 0, 1) + " %"; };
  const auto share = [&](double seconds) { return seconds > 0 ? percent(seconds) : ""; };
  std::string table = line("share", "calls", "ms a call", name({"op", "", "output", "part of the network"}));
  for (const ProfileRow& r : rows)
    table += line(percent(r.seconds), r.calls > 0 ? std::to_string(r.calls) : "",
                  r.calls > 0 ? fixed(1e3 * r.seconds / double(r.calls), 3) : "", name(r));
  table += '\n' + line("share", "forward", "backward", "op");
  for (const Op& op : ops) table += line(percent(op.seconds), share(op.forward), share(op.backward), op.name);
  return table + text('\n', fixed(total, 2), " s in all, ", percent(named), " of it accounted for\n");
}

}  // namespace acinus
