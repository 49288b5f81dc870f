// Settings: from the command line, from JSON, and into the options structs.
#include "apps/common/settings.h"

#include "apps/common/config.h"
#include "tests/testing.h"

using namespace acinus;
using Catch::Contains;

namespace {

// Parses a command line of words.
void parse(Settings& settings, std::vector<std::string> words) {
  words.insert(words.begin(), "program");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  REQUIRE(settings.parse(int(argv.size()), argv.data()));
}

}  // namespace

TEST_CASE("settings: the command line overrides the file, and the file the defaults") {
  const Scratch folder;
  put(folder / "c.json", R"({"train": {"lr": 0.002877, "batch": 8}, "gone": "off", "input": {"lungs": false}})");
  double lr = 1e-3;
  int64_t batch = 16, steps = 5;
  bool lungs = true, recompute = false;
  Up up = Up::nearest;
  std::vector<int64_t> classes;
  Settings settings("program", "");
  settings.add("train.lr", lr, "").between(1e-12, INFINITY);
  settings.add("train.batch", batch, "").between(1, 4096);
  settings.add("train.steps", steps, "");
  settings.add("input.lungs", lungs, "");
  settings.add("recompute", recompute, "");
  settings.add("net.up", up, "");
  settings.add("classes", classes, "");
  settings.retire("gone", "off", "look elsewhere");
  parse(settings, {"--config", folder / "c.json", "--train.batch", "4", "--recompute", "--net.up=transpose", "--set",
                   "classes=0,128,255"});
  CHECK(lr == 0.002877);  // to the last bit
  CHECK((batch == 4 && steps == 5 && !lungs && recompute && up == Up::transpose));
  CHECK(classes == std::vector<int64_t>{0, 128, 255});
  CHECK(settings.given() == std::vector<std::string>{"train.batch", "recompute", "net.up", "classes"});

  CHECK_THAT(error_of([&] { settings.set(R"({"train": {"batch": 0}})", "x.json"); }),
             Contains("x.json: --train.batch: must be between 1 and 4096, not 0"));
  CHECK_THAT(error_of([&] { settings.set(R"({"net": {"up": "cubic"}})", "x.json"); }), Contains("cubic"));
  CHECK_THAT(error_of([&] { settings.set(R"({"net": {"upp": 1}})", "x.json"); }), Contains("did you mean --net.up?"));
  CHECK_THAT(error_of([&] { settings.set(R"({"gone": "on"})", "x.json"); }), Contains("gone is gone: look elsewhere"));
}

TEST_CASE("settings: what a run saves is read back, into every options struct") {
  Config a, b;
  Settings of_a("train", ""), of_b("train", "");
  add_settings(of_a, a), add_settings(of_b, b);
  parse(of_a, {"--preset", "gpu", "--seed", "7", "--input.planes", "3", "--input.hu_low", "-900", "--net.norm", "group",
               "--cache_bits", "8", "--phantom.size", "64", "--net.depth", "2", "--augment.blur", "0.25"});
  of_b.set(of_a.to_json(), "config.json");
  CHECK(of_a.to_json() == of_b.to_json());
  for (const Config* c : {&a, &b}) {
    CHECK((c->machine.precision == Precision::bf16 && c->schedule.lr == 3e-3));  // the preset's
    CHECK((c->split.seed == 7 && c->phantom.seed == 7));
    CHECK((c->input.planes == 3 && c->sampling.planes == 3));
    CHECK((c->input.window.low == -900 && c->cache.window.low == -900 && c->sampling.window.low == -900 &&
           c->crops.crop.window.low == -900));
    CHECK((c->net.norm == NormKind::group && c->classifier.norm == NormKind::group && c->cache.bytes));
    CHECK((c->phantom.scan.size[0] == 64 && c->phantom.scan.size[1] == 64));
    CHECK(c->net.deep_supervision == 2);     // what was asked for, also where --net.depth becomes larger later
    CHECK(c->unet().deep_supervision == 1);  // no more than depth - 1
    CHECK((c->sampling.augment.blur.probability == 0.25 && c->crops.augment.blur.probability == 0.25));
  }
}
