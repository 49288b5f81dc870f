#include "data/scoring/matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "tensor/check.h"

namespace acinus {
namespace {

// Not inline: a product that the compiler draws into the sum after it (a fused multiply-add) is not rounded, and a mark
// that lies as far away as the radius may then count on one machine and not on another. The script's pow(x, 2) leaves
// that to the C library: it may be off by the last bit.
[[gnu::noinline]] double square(double x) { return x * x; }

double squared_distance(const Vec3& a, const Vec3& b) {
  return square(a[0] - b[0]) + square(a[1] - b[1]) + square(a[2] - b[2]);
}

}  // namespace

bool hits(const Vec3& place, const Annotation& finding) {
  return squared_distance(place, finding.centre) < square((finding.diameter_mm < 0 ? 10 : finding.diameter_mm) / 2);
}

namespace {

// What belongs to a scan.
struct OfScan {
  std::vector<const Annotation*> nodules, excluded;
  std::vector<const Candidate*> marks;
};

// Each nodule with a mark of its own. A mark that several nodules claim goes to the nearest; the nodule that is left
// without takes its next. The most probable marks choose first.
std::vector<Hit> one_to_one(const OfScan& scan) {
  struct Pair {
    double probability, distance;
    size_t nodule, mark;
  };
  std::vector<Pair> pairs;
  for (size_t n = 0; n < scan.nodules.size(); n++)
    for (size_t m = 0; m < scan.marks.size(); m++) {
      const double distance = squared_distance(scan.nodules[n]->centre, scan.marks[m]->centre);
      if (hits(scan.marks[m]->centre, *scan.nodules[n])) pairs.push_back({scan.marks[m]->probability, distance, n, m});
    }
  std::ranges::stable_sort(pairs, [](const Pair& a, const Pair& b) {
    return std::tie(b.probability, a.distance) < std::tie(a.probability, b.distance);
  });
  std::vector<Hit> hits;
  std::vector<bool> nodule_taken(scan.nodules.size()), mark_taken(scan.marks.size());
  for (const Pair& pair : pairs) {
    if (nodule_taken[pair.nodule] || mark_taken[pair.mark]) continue;
    nodule_taken[pair.nodule] = mark_taken[pair.mark] = true;
    hits.push_back({*scan.nodules[pair.nodule], *scan.marks[pair.mark]});
  }
  return hits;
}

}  // namespace

double counted_above(std::vector<double> probabilities, int64_t most) {
  check(most >= 0, "counted_above: ", most, " marks");
  if (int64_t(probabilities.size()) <= most) return -std::numeric_limits<double>::infinity();
  const auto limit = probabilities.begin() + most;
  std::nth_element(probabilities.begin(), limit, probabilities.end(), std::greater<>());
  return *limit;
}

Matching match_marks(const Truth& truth, const std::vector<Candidate>& marks, int64_t most) {
  Matching result;
  std::unordered_map<std::string, size_t> number_of;
  for (const std::string& uid : truth.scans)
    check(number_of.emplace(uid, number_of.size()).second, "match_marks: scan ", uid, " is there twice");
  std::vector<OfScan> scans(truth.scans.size());
  const auto scan_of = [&](const std::string& uid) {
    const auto it = number_of.find(uid);
    return it == number_of.end() ? nullptr : &scans[it->second];
  };
  for (const Annotation& nodule : truth.nodules)
    if (OfScan* scan = scan_of(nodule.seriesuid)) scan->nodules.push_back(&nodule);
  for (const Annotation& finding : truth.excluded)
    if (OfScan* scan = scan_of(finding.seriesuid)) scan->excluded.push_back(&finding);
  for (const Candidate& mark : marks) {
    check(std::isfinite(mark.probability), "match_marks: a probability is ", mark.probability);
    if (OfScan* scan = scan_of(mark.seriesuid))
      scan->marks.push_back(&mark);
    else
      result.elsewhere++;
  }

  result.scans.resize(scans.size());
  for (size_t s = 0; s < scans.size(); s++) {
    OfScan& scan = scans[s];
    ScanCount& count = result.scans[s];
    std::vector<double> probabilities;
    for (const Candidate* mark : scan.marks) probabilities.push_back(mark->probability);
    const double above = counted_above(probabilities, most);
    result.beyond += int64_t(std::erase_if(scan.marks, [&](const Candidate* m) { return !(m->probability > above); }));
    result.marks += int64_t(scan.marks.size());

    // Nodules first: a mark on a nodule and on an excluded finding is not an ignored one.
    std::vector<bool> met(scan.marks.size(), false);
    for (const Annotation* nodule : scan.nodules) {
      int64_t on_it = 0;
      double highest = -std::numeric_limits<double>::infinity();
      for (size_t m = 0; m < scan.marks.size(); m++) {
        if (!hits(scan.marks[m]->centre, *nodule)) continue;
        met[m] = true;
        on_it++;
        highest = std::max(highest, scan.marks[m]->probability);
      }
      count.nodules++;
      if (on_it == 0) continue;
      count.found++;
      result.doubles += on_it - 1;
      result.outcomes.push_back({s, highest, true});
    }
    for (const Annotation* finding : scan.excluded)
      for (size_t m = 0; m < scan.marks.size(); m++)
        if (!met[m] && hits(scan.marks[m]->centre, *finding)) {
          met[m] = true;
          result.ignored++;
        }
    for (size_t m = 0; m < scan.marks.size(); m++)
      if (!met[m]) {
        count.false_positives++;
        result.outcomes.push_back({s, scan.marks[m]->probability, false});
      }
    for (Hit& hit : one_to_one(scan)) result.hits.push_back(std::move(hit));
    result.nodules += count.nodules;
    result.found += count.found;
    result.false_positives += count.false_positives;
  }
  return result;
}

}  // namespace acinus
