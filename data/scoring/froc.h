// The free-response ROC curve: which share of the nodules is found, at how many false positives a scan, over all
// thresholds of the probability; and the CPM, the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a
// scan (M. Niemeijer et al., On Combining Computer-Aided Detection Systems, 2011), by which LUNA16 ranks.
//
//   const Froc f = froc(match_marks(truth, marks));
//   f.cpm.value, f.cpm.low, f.cpm.high          0.712, between 0.668 and 0.749
//   f.at(3).sensitivity.value                   at kFrocRates[3] = 1 false positive a scan
//
// Computed as LUNA16's script does. Between two points of the curve lies a straight line, the first goes out from
// (0,0); right of the last one the sensitivity stays. The script's roc_curve leaves out points on a straight line
// between two others, which changes no value by more than rounding. Where there is no true positive the sensitivity is
// 0 (the script's is not a number); where no false positive, the highest, everywhere.
//
// The intervals come from a bootstrap over scans: as many are drawn with replacement, and the curve computed, 1000
// times. B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
#pragma once
#include <cstdint>
#include <vector>

#include "data/scoring/matching.h"

namespace acinus {

inline constexpr double kFrocRates[] = {0.125, 0.25, 0.5, 1, 2, 4, 8};  // false positives a scan
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
  double rate = 0;  // false positives a scan
  Estimate sensitivity;
  double threshold = 0;  // of the probability: marks of so much or more give no more than `rate`; infinity: no mark
};

struct Froc {
  std::vector<FrocPoint> curve;  // from 1/8 to 8 false positives a scan, sixteen steps to each doubling
  Estimate cpm;
  int64_t resamples = 0;      // those that held a nodule
  std::vector<double> drawn;  // their CPMs

  bool defined() const { return !curve.empty(); }                      // not where there is no nodule
  const FrocPoint& at(size_t rate) const { return curve[16 * rate]; }  // at kFrocRates[rate]
};

// Throws Error where there is no nodule: then no sensitivity is defined.
Froc froc(const Matching& matching, const FrocOptions& options = {});

// a's CPM minus b's, of the same scans with the same options. Both saw the same resamples, so what makes all scans of
// one harder than those of another cancels out: the interval is narrower than those of a and b let expect.
Estimate cpm_difference(const Froc& a, const Froc& b, double confidence = 0.95);

}  // namespace acinus
