#include "data/scoring/matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "tensor/check.h"

namespace acinus {
namespace {

// Not inline: if the compiler fused the product with the sum after it (a multiply-add rounds once), a mark exactly at
// the radius would count on one machine and not on another. The script's pow(x, 2) leaves that to the C library, which
// may be off by the last bit.
[[gnu::noinline]] double square(double x) { return x * x; }

double squared_distance(const Vec3& a, const Vec3& b) {
  return square(a[0] - b[0]) + square(a[1] - b[1]) + square(a[2] - b[2]);
}

}  // namespace

double radius_mm(const Annotation& finding) { return (finding.diameter_mm < 0 ? 10 : finding.diameter_mm) / 2; }

bool hits(const Vec3& point, const Annotation& finding) {
  return squared_distance(point, finding.centre) < square(radius_mm(finding));
}

double counted_above(std::vector<double> probabilities, int64_t max_marks) {
  check(max_marks >= 0, "counted_above: ", max_marks, " marks");
  if (int64_t(probabilities.size()) <= max_marks) return -std::numeric_limits<double>::infinity();
  const auto limit = probabilities.begin() + max_marks;
  std::nth_element(probabilities.begin(), limit, probabilities.end(), std::greater<>());
  return *limit;
}

namespace {

struct ScanMarks {
  std::vector<const Annotation*> nodules, excluded;
  std::vector<const Candidate*> marks;
};

// What belongs to each scan of the list; counts the marks that belong to none.
std::vector<ScanMarks> group_by_scan(const Truth& truth, const std::vector<Candidate>& marks, int64_t& unlisted) {
  std::unordered_map<std::string, size_t> index_of;
  for (const std::string& uid : truth.scans)
    check(index_of.emplace(uid, index_of.size()).second, "match_marks: scan ", uid, " is listed twice");
  std::vector<ScanMarks> scans(truth.scans.size());
  const auto add = [&](const auto& items, auto list) {  // returns how many belong to other scans
    int64_t others = 0;
    for (const auto& item : items)
      if (const auto it = index_of.find(item.seriesuid); it != index_of.end())
        (scans[it->second].*list).push_back(&item);
      else
        others++;
    return others;
  };
  add(truth.nodules, &ScanMarks::nodules);
  add(truth.excluded, &ScanMarks::excluded);
  for (const Candidate& mark : marks)
    check(std::isfinite(mark.probability), "match_marks: a probability is ", mark.probability);
  unlisted = add(marks, &ScanMarks::marks);
  return scans;
}

// Keeps the max_marks most suspicious marks; returns how many were dropped.
int64_t keep_most_suspicious(std::vector<const Candidate*>& marks, int64_t max_marks) {
  std::vector<double> probabilities;
  for (const Candidate* mark : marks) probabilities.push_back(mark->probability);
  const double above = counted_above(probabilities, max_marks);
  return int64_t(std::erase_if(marks, [&](const Candidate* mark) { return !(mark->probability > above); }));
}

// Counts the hits, duplicates, ignored marks and false positives of scan number `index`.
void match_scan(const ScanMarks& scan, size_t index, Matching& result) {
  ScanCount& count = result.scans[index];
  for (const Annotation* nodule : scan.nodules) {
    int64_t marks = 0;
    double highest = -std::numeric_limits<double>::infinity();
    for (const Candidate* mark : scan.marks) {
      if (!hits(mark->centre, *nodule)) continue;
      marks++;
      highest = std::max(highest, mark->probability);
    }
    count.nodules++;
    if (marks == 0) continue;
    count.found++;
    result.duplicates += marks - 1;
    result.outcomes.push_back({index, highest, true});
  }
  // "delete marks on excluded nodules so they don't count as false positives". Nodules first: a mark on both a nodule
  // and an excluded finding is not an ignored one.
  std::vector<const Candidate*> others = scan.marks;
  const auto erase_on = [&](const std::vector<const Annotation*>& findings) {
    return int64_t(std::erase_if(others, [&](const Candidate* mark) {
      return std::ranges::any_of(findings, [&](const Annotation* finding) { return hits(mark->centre, *finding); });
    }));
  };
  erase_on(scan.nodules);
  result.ignored += erase_on(scan.excluded);
  count.false_positives = int64_t(others.size());
  for (const Candidate* mark : others) result.outcomes.push_back({index, mark->probability, false});
}

// Assigns each nodule a mark of its own, greedily: the most probable marks choose first, each the nearest nodule that
// it hits and that is still free.
void assign_marks(const ScanMarks& scan, std::vector<Hit>& out) {
  struct Assignment {
    double probability, distance;
    size_t nodule, mark;
  };
  std::vector<Assignment> possible;
  for (size_t n = 0; n < scan.nodules.size(); n++)
    for (size_t m = 0; m < scan.marks.size(); m++) {
      const double distance = squared_distance(scan.nodules[n]->centre, scan.marks[m]->centre);
      if (hits(scan.marks[m]->centre, *scan.nodules[n]))
        possible.push_back({scan.marks[m]->probability, distance, n, m});
    }
  std::ranges::stable_sort(possible, [](const Assignment& a, const Assignment& b) {
    return std::tie(b.probability, a.distance) < std::tie(a.probability, b.distance);
  });
  std::vector<bool> nodule_taken(scan.nodules.size()), mark_taken(scan.marks.size());
  for (const Assignment& a : possible) {
    if (nodule_taken[a.nodule] || mark_taken[a.mark]) continue;
    nodule_taken[a.nodule] = mark_taken[a.mark] = true;
    out.push_back({*scan.nodules[a.nodule], *scan.marks[a.mark]});
  }
}

}  // namespace

Matching match_marks(const Truth& truth, const std::vector<Candidate>& marks, int64_t max_marks) {
  Matching result;
  std::vector<ScanMarks> scans = group_by_scan(truth, marks, result.unlisted);
  result.scans.resize(scans.size());
  for (size_t s = 0; s < scans.size(); s++) {
    result.dropped += keep_most_suspicious(scans[s].marks, max_marks);
    result.marks += int64_t(scans[s].marks.size());
    match_scan(scans[s], s, result);
    assign_marks(scans[s], result.hits);
    result.nodules += result.scans[s].nodules;
    result.found += result.scans[s].found;
    result.false_positives += result.scans[s].false_positives;
  }
  return result;
}

}  // namespace acinus
