// The free-response ROC (FROC) curve: the sensitivity, or fraction of the nodules that is found, against the number of
// false positives per scan, over all thresholds of the probability; and the competition performance metric (CPM), the
// mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan, by which LUNA16 ranks (M. Niemeijer et
// al., On Combining Computer-Aided Detection Systems, 2011).
//
//   const Froc f = froc(match_marks(truth, marks));
//   f.cpm.value, f.cpm.low, f.cpm.high          0.712, between 0.668 and 0.749
//   f.at(3).sensitivity.value                   at kFrocRates[3] = 1 false positive per scan
//
// Computed as LUNA16's script does: linear between the points of the curve, from (0,0) on; constant beyond the last
// one. The script's roc_curve drops points on a straight line between two others, which changes no value by more than
// rounding. Without true positives the sensitivity is 0 (in the script NaN); without false positives it is everywhere
// the highest.
//
// The intervals come from a bootstrap over scans: 1000 times, as many scans as there are are drawn with replacement,
// and the curve is computed again. B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
#pragma once
#include <cstdint>
#include <vector>

#include "data/scoring/matching.h"

namespace acinus {

inline constexpr double kFrocRates[] = {0.125, 0.25, 0.5, 1, 2, 4, 8};  // false positives per scan
inline constexpr const char* kFrocRateNames[] = {"1/8", "1/4", "1/2", "1", "2", "4", "8"};

struct FrocOptions {
  int64_t resamples = 1000;  // 0: no intervals
  double confidence = 0.95;
  uint64_t seed = 1;
};

struct Estimate {
  double value = 0, low = 0, high = 0;  // the ends of the interval; NaN without resamples
};

struct FrocPoint {
  double rate = 0;  // false positives per scan
  Estimate sensitivity;
  double threshold = 0;  // marks of at least this probability give at most `rate`; infinity: no mark does
};

struct Froc {
  std::vector<FrocPoint> curve;  // from 1/8 to 8 false positives per scan, sixteen steps to each doubling
  Estimate cpm;
  int64_t resamples = 0;               // those that held a nodule
  std::vector<double> resampled_cpms;  // of each

  bool defined() const { return !curve.empty(); }                      // false where there is no nodule
  const FrocPoint& at(size_t rate) const { return curve[16 * rate]; }  // at kFrocRates[rate]
};

// Throws Error if there is no nodule: then no sensitivity is defined.
Froc froc(const Matching& matching, const FrocOptions& options = {});

// a's CPM minus b's, of the same scans with the same options: a paired bootstrap. Both saw the same resamples, so the
// difficulty of the drawn scans cancels out, and the interval is narrower than those of a and b suggest.
Estimate cpm_difference(const Froc& a, const Froc& b, double confidence = 0.95);

// The area under the ROC curve: the fraction of all pairs (nodule, other) in which the nodule has the higher score; a
// tie counts half (Mann and Whitney 1947). NaN if one of the two is empty.
double area_under_roc(const std::vector<double>& nodules, const std::vector<double>& others);

}  // namespace acinus
