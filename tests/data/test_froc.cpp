// Marks and annotations by LUNA16's rule, the FROC curve, and the tables that they come from.
#include <algorithm>

#include "data/formats/annotations.h"
#include "data/scoring/froc.h"
#include "tensor/io/file.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Candidate mark(const std::string& scan, double x, double probability, double y = 0, double z = 0) {
  return {scan, {x, y, z}, -1, probability};
}
Annotation nodule(const std::string& scan, double x, double diameter) { return {scan, {x, 0, 0}, diameter}; }

std::vector<std::pair<double, bool>> outcomes(const Matching& m) {
  std::vector<std::pair<double, bool>> all;
  for (const Outcome& o : m.outcomes) all.emplace_back(o.probability, o.is_nodule);
  return all;
}
using Outcomes = std::vector<std::pair<double, bool>>;

std::vector<double> at_rates(const Froc& f) {
  std::vector<double> values;
  for (size_t r = 0; r < 7; r++) values.push_back(f.at(r).sensitivity.value);
  return values;
}

// `count` false positives of one probability.
void add_false(std::vector<Candidate>& marks, const std::string& scan, int count, double probability) {
  for (int i = 0; i < count; i++) marks.push_back(mark(scan, 1000 + i, probability));
}

}  // namespace

TEST_CASE("marks: a nodule that is met twice is found once, and a mark at its radius is outside") {
  const Truth truth{{"a"}, {nodule("a", 0, 10)}, {}};
  const Matching m =
      match_marks(truth, {mark("a", 4.9, 0.8), mark("a", -4.8, 0.9), mark("a", 5.0, 0.7), mark("a", 50, 0.6)});
  CHECK(m.found == 1);
  CHECK(m.missed() == 0);
  CHECK(m.duplicates == 1);
  CHECK(m.false_positives == 2);
  CHECK(outcomes(m) == Outcomes{{0.9, true}, {0.7, false}, {0.6, false}});
  REQUIRE(m.hits.size() == 1);
  CHECK(m.hits[0].mark.probability == 0.9);
  // All three coordinates count: 3-4-12 is 13.
  CHECK(match_marks({{"a"}, {nodule("a", 0, 26)}, {}}, {mark("a", 3, 1, 4, 12)}).found == 0);
  CHECK(match_marks({{"a"}, {nodule("a", 0, 26.001)}, {}}, {mark("a", 3, 1, 4, 12)}).found == 1);
}

TEST_CASE("marks: excluded findings take marks away, 10 mm wide where the diameter is unknown") {
  const std::vector<Candidate> marks{mark("a", 4.99, 0.9), mark("a", 5, 0.8), mark("a", 100, 0.7), mark("a", 102, 0.6)};
  const Truth truth{{"a"}, {nodule("a", 30, 4)}, {nodule("a", 0, -1), nodule("a", 100, 4)}};
  const Matching m = match_marks(truth, marks);
  CHECK(m.nodules == 1);
  CHECK(m.missed() == 1);
  CHECK(m.ignored == 2);
  CHECK(outcomes(m) == Outcomes{{0.8, false}, {0.6, false}});
  // One that meets a nodule, too, finds it; it is not counted as ignored, in whatever order they are listed.
  const Truth both{{"a"}, {nodule("a", 1, 10)}, {nodule("a", 0, -1)}};
  const Matching met = match_marks(both, {mark("a", 0, 0.5), mark("a", -4.5, 0.4)});
  CHECK(met.found == 1);
  CHECK(met.ignored == 1);
  CHECK(met.false_positives == 0);
  // A nodule of unknown diameter is as wide.
  CHECK(match_marks({{"a"}, {nodule("a", 0, -1)}, {}}, {mark("a", 4.99, 1)}).found == 1);
}

TEST_CASE("marks: one mark in two nodules finds both, and is a place for one") {
  const Truth truth{{"a"}, {nodule("a", 0, 10), nodule("a", 6, 10)}, {}};
  Matching m = match_marks(truth, {mark("a", 3.5, 0.9)});
  CHECK(m.found == 2);
  CHECK(outcomes(m) == Outcomes{{0.9, true}, {0.9, true}});
  CHECK(m.false_positives == 0);
  REQUIRE(m.hits.size() == 1);
  CHECK(m.hits[0].nodule.centre[0] == 6);  // the nearer one
  // The other one takes its next mark, though it is less probable.
  m = match_marks(truth, {mark("a", 3.5, 0.9), mark("a", -1, 0.2), mark("a", 1, 0.1)});
  REQUIRE(m.hits.size() == 2);
  CHECK(m.hits[1].nodule.centre[0] == 0);
  CHECK(m.hits[1].mark.probability == 0.2);
  CHECK(outcomes(m) == Outcomes{{0.9, true}, {0.9, true}});
  CHECK(m.duplicates == 2);
  // Nodules in another order: the same.
  const Matching turned = match_marks({{"a"}, {nodule("a", 6, 10), nodule("a", 0, 10)}, {}},
                                      {mark("a", 1, 0.1), mark("a", -1, 0.2), mark("a", 3.5, 0.9)});
  CHECK(outcomes(turned) == outcomes(m));
  CHECK(turned.hits[1].mark.probability == 0.2);
}

TEST_CASE("marks: of a scan's marks 100 count, and none of those that are as probable as number 101") {
  std::vector<Candidate> marks;
  for (int i = 0; i < 100; i++) marks.push_back(mark("a", 1000 + i, 0.5 + i * 1e-3));
  const Truth truth{{"a", "b"}, {nodule("a", 0, 10)}, {}};
  CHECK(match_marks(truth, marks).marks == 100);
  marks.push_back(mark("a", 2000, 0.4));  // the least probable of 101
  CHECK(match_marks(truth, marks).marks == 100);
  CHECK(match_marks(truth, marks).dropped == 1);
  marks.back().probability = 0.5;  // as number 100: both go
  CHECK(match_marks(truth, marks).marks == 99);
  marks.back().probability = 0.6;  // as one in the middle: the last one goes
  CHECK(match_marks(truth, marks).marks == 100);
  add_false(marks, "b", 100, 0.1);  // of each scan
  CHECK(match_marks(truth, marks).marks == 200);
  CHECK(match_marks(truth, marks, 10).marks == 10);  // of b's equal ones none
  std::vector<Candidate> equal;
  add_false(equal, "a", 101, 0.5);
  CHECK(match_marks(truth, equal).marks == 0);
  CHECK(counted_above({3, 1, 2}, 3) == -kInfinity);
  CHECK(counted_above({3, 1, 2}, 2) == 1);
}

TEST_CASE("marks: only the scans in the list count") {
  const Truth truth{{"a", "empty"}, {nodule("a", 0, 10), nodule("other", 0, 10)}, {nodule("other", 5, -1)}};
  const Matching m = match_marks(truth, {mark("a", 0, 0.5), mark("other", 0, 0.9), mark("empty", 0, 0.3)});
  CHECK(m.nodules == 1);
  CHECK(m.unlisted == 1);
  REQUIRE(m.scans.size() == 2);
  CHECK(m.scans[0].found == 1);
  CHECK(m.scans[1].false_positives == 1);
  CHECK_THAT(error_of([] { match_marks({{"a", "a"}, {}, {}}, {}); }), Catch::Contains("scan a is listed twice"));
  CHECK_THAT(error_of([&] { match_marks(truth, {mark("a", 0, NAN)}); }), Catch::Contains("a probability is nan"));
}

TEST_CASE("froc: the toy of one scan") {
  const Truth truth{{"a"}, {nodule("a", 0, 10)}, {}};
  const Froc f = froc(
      match_marks(truth, {mark("a", 4.9, 0.9), mark("a", 0, 0.8, 4.8), mark("a", 0, 0.7, 0, 5.0), mark("a", 50, 0.6)}));
  CHECK(at_rates(f) == std::vector<double>(7, 1));
  CHECK(f.cpm.value == 1);
  CHECK(f.at(0).threshold == 0.9);
  CHECK(f.at(3).threshold == 0.7);
  CHECK(f.at(6).threshold == 0.6);
}

TEST_CASE("froc: between two points a straight line, from (0,0) on; beyond the last the last") {
  // Two scans, four nodules. By falling probability: 1 false, 1 found, 3 false, 1 found.
  // Points (false positives a scan, sensitivity): (0,0) (0.5,0) (0.5,0.25) (2,0.25) (2,0.5).
  Truth truth{{"a", "b"}, {}, {}};
  for (int i = 0; i < 4; i++) truth.nodules.push_back(nodule("a", 20 * i, 10));
  std::vector<Candidate> marks{mark("a", 0, 0.8), mark("a", 20, 0.1)};
  add_false(marks, "b", 1, 0.9);
  add_false(marks, "a", 3, 0.5);
  Froc f = froc(match_marks(truth, marks));
  CHECK(at_rates(f) == std::vector<double>{0, 0, 0.25, 0.25, 0.5, 0.5, 0.5});
  CHECK(f.cpm.value == Approx(2.0 / 7));
  CHECK(f.at(1).threshold == kInfinity);  // a quarter of a false positive a scan: no mark may be shown
  CHECK(f.at(2).threshold == 0.8);
  // Equally probable ones are accepted together: (0,0) (2.5,0.5) is one line.
  for (Candidate& m : marks) m.probability = 0.5;
  add_false(marks, "b", 1, 0.5);
  f = froc(match_marks(truth, marks));
  for (size_t r = 0; r < 7; r++)
    CHECK(f.at(r).sensitivity.value == Approx(0.5 * std::min(kFrocRates[r] / 2.5, 1.0)).epsilon(1e-14));
  CHECK(f.curve.size() == 97);
  CHECK(f.curve[96].rate == 8);
  for (size_t r = 0; r < 7; r++) CHECK(f.at(r).rate == kFrocRates[r]);
}

TEST_CASE("froc: scans without nodules divide the false positives; nodules that are missed divide the sensitivity") {
  std::vector<Candidate> marks{mark("a", 0, 0.5)};
  add_false(marks, "a", 4, 0.9);
  Truth truth{{"a"}, {nodule("a", 0, 10), nodule("b", 0, 10)}, {}};
  CHECK(at_rates(froc(match_marks(truth, marks))) == std::vector<double>{0, 0, 0, 0, 0, 1, 1});
  truth.scans = {"a", "c", "d", "e"};
  CHECK(at_rates(froc(match_marks(truth, marks))) == std::vector<double>{0, 0, 0, 1, 1, 1, 1});
  truth.scans[1] = "b";
  CHECK(at_rates(froc(match_marks(truth, marks))) == std::vector<double>{0, 0, 0, 0.5, 0.5, 0.5, 0.5});
}

TEST_CASE("froc: none found, no false positive, no mark, no nodule") {
  const Truth truth{{"a", "b"}, {nodule("a", 0, 10), nodule("b", 0, 10)}, {}};
  const std::vector<double> zero(7, 0), half(7, 0.5);
  CHECK(at_rates(froc(match_marks(truth, {}))) == zero);
  CHECK(froc(match_marks(truth, {})).cpm.value == 0);
  CHECK(at_rates(froc(match_marks(truth, {mark("a", 40, 0.5)}))) == zero);
  CHECK(at_rates(froc(match_marks(truth, {mark("a", 0, 0.5)}))) == half);
  CHECK_THAT(error_of([] {
               froc(match_marks({{"a"}, {}, {}}, {mark("a", 0, 0.5)}));
             }),
             Catch::Contains("no nodule in 1 scan"));
}

TEST_CASE("froc: intervals by drawing scans, the same with any number of threads") {
  // Each scan has one nodule; half of them are found, without a false positive: a resample's sensitivity is a binomial
  // share, with deviation sqrt(0.25 / 40) = 0.079.
  Truth truth;
  std::vector<Candidate> marks;
  for (int i = 0; i < 40; i++) {
    truth.scans.push_back(text(i));
    truth.nodules.push_back(nodule(text(i), 0, 10));
    if (i % 2 == 0) marks.push_back(mark(text(i), 0, 0.5));
  }
  const Matching m = match_marks(truth, marks);
  const Froc f = froc(m);
  CHECK(f.resamples == 1000);
  CHECK(f.cpm.value == 0.5);
  CHECK(f.cpm.low == Approx(0.5 - 1.96 * 0.079).margin(0.026));
  CHECK(f.cpm.high == Approx(0.5 + 1.96 * 0.079).margin(0.026));
  CHECK(f.at(2).sensitivity.low == Approx(f.cpm.low));
  const Froc narrow = froc(m, {1000, 0.5, 1});
  CHECK(narrow.cpm.low > f.cpm.low);
  CHECK(narrow.cpm.high < f.cpm.high);
  CHECK(std::isnan(froc(m, {0}).cpm.low));

  add_false(marks, "3", 30, 0.7);
  add_false(marks, "5", 50, 0.4);
  const auto all = [&](int threads, uint64_t seed) {
    const Threads some(threads);
    std::vector<double> values;
    for (const FrocPoint& p : froc(match_marks(truth, marks), {200, 0.95, seed}).curve)
      values.insert(values.end(), {p.sensitivity.value, p.sensitivity.low, p.sensitivity.high});
    return values;
  };
  CHECK(all(1, 1) == all(3, 1));
  CHECK(all(1, 1) != all(1, 2));
  // The same marks and one nodule more: the difference is one nodule in forty, drawn 0 to 3 or 4 times.
  std::vector<Candidate> more = marks;
  more.push_back(mark("1", 0, 0.9));
  const Froc a = froc(match_marks(truth, more)), b = froc(match_marks(truth, marks));
  const Estimate d = cpm_difference(a, b);
  CHECK(d.value == Approx(1.0 / 40));
  CHECK(d.low == 0);
  CHECK(d.high == Approx(3.5 / 40).margin(0.5 / 40 + 1e-9));
  CHECK(cpm_difference(b, b).high == 0);
  CHECK_THAT(error_of([&] { cpm_difference(a, froc(match_marks(truth, marks), {10})); }), Catch::Contains("resamples"));
  // Resamples without a nodule are left out.
  Truth rare{{"a", "b", "c"}, {nodule("a", 0, 10)}, {}};
  const Froc one = froc(match_marks(rare, {mark("a", 0, 1)}));
  CHECK(one.resamples < 1000);
  CHECK(one.resamples == Approx(1000 * (1 - 8.0 / 27)).margin(60));
  CHECK(one.cpm.low == 1);
}

TEST_CASE("candidates: a submission is sorted, cut where the evaluation cuts, and worth the same") {
  const Scratch folder;
  Truth truth{{"a", "b"}, {nodule("a", 0, 10), nodule("b", 0, 10)}, {}};
  std::vector<Candidate> marks{mark("b", 0, 0.3), mark("b", 500, 0.6)};
  Random random(3);
  for (int i = 0; i < 150; i++) marks.push_back(mark("a", i, double(random.below(40)) / 40));
  write_submission(folder / "s.csv", marks);
  const std::vector<Candidate> read = read_candidates(folder / "s.csv");
  CHECK(read_file(folder / "s.csv", 1 << 20).starts_with("seriesuid,coordX,coordY,coordZ,probability\na,"));
  for (size_t i = 1; i < read.size(); i++) {
    REQUIRE(read[i - 1].seriesuid <= read[i].seriesuid);
    if (read[i - 1].seriesuid == read[i].seriesuid) REQUIRE(read[i - 1].probability >= read[i].probability);
  }
  const Matching before = match_marks(truth, marks), after = match_marks(truth, read);
  CHECK(before.dropped > 49);  // ties at the limit
  CHECK(after.dropped == 0);
  CHECK(before.marks == after.marks);
  CHECK(at_rates(froc(before)) == at_rates(froc(after)));
}
