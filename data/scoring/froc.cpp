#include "data/scoring/froc.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr size_t kRates = std::size(kFrocRates), kStepsBetween = 16, kPoints = kStepsBetween * (kRates - 1) + 1;

double rate_of(size_t point) { return std::exp2(-3 + double(point) / kStepsBetween); }

// All outcomes by falling probability. Equally probable ones are accepted together.
struct Sorted {
  std::vector<Outcome> outcomes;
  std::vector<uint8_t> is_last;  // among those of its probability

  explicit Sorted(std::vector<Outcome> unsorted) : outcomes(std::move(unsorted)), is_last(outcomes.size(), 1) {
    std::ranges::stable_sort(outcomes, std::greater<>(), &Outcome::probability);
    for (size_t i = 0; i + 1 < outcomes.size(); i++)
      is_last[i] = outcomes[i].probability != outcomes[i + 1].probability;
  }
};

// The sensitivity at each rate (and the threshold, if asked for), where scan i was drawn times[i] times. False if no
// scan that was drawn has a nodule. Rounded as in the script, x = FP / n_fp * n_fp / n_scans: whether a point lies just
// left or right of a rate decides which of two values is read there.
bool sensitivities(const Matching& matching, const Sorted& sorted, const std::vector<int32_t>& times,
                   const double* rates, double* sensitivity, double* thresholds = nullptr) {
  double nodules = 0, found = 0, false_positives = 0, scans = 0;
  for (size_t s = 0; s < times.size(); s++) {
    const ScanCount& count = matching.scans[s];
    nodules += double(times[s] * count.nodules), found += double(times[s] * count.found);
    false_positives += double(times[s] * count.false_positives), scans += double(times[s]);
  }
  if (nodules == 0) return false;
  size_t next = 0;
  int64_t true_count = 0, false_count = 0;
  double x = 0, y = 0, threshold = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < sorted.outcomes.size() && next < kPoints; i++) {
    const Outcome& outcome = sorted.outcomes[i];
    (outcome.is_nodule ? true_count : false_count) += times[outcome.scan];
    if (!sorted.is_last[i]) continue;
    const double x1 = false_count == 0 ? 0 : double(false_count) / false_positives * false_positives / scans;
    const double y1 = true_count == 0 ? 0 : double(true_count) / found * found / nodules;
    for (; next < kPoints && rates[next] < x1; next++) {
      sensitivity[next] = y + (y1 - y) / (x1 - x) * (rates[next] - x);
      if (thresholds) thresholds[next] = threshold;
    }
    x = x1, y = y1, threshold = outcome.probability;
  }
  for (; next < kPoints; next++) {
    sensitivity[next] = y;
    if (thresholds) thresholds[next] = threshold;
  }
  return true;
}

double mean_at_rates(const double* sensitivity) {
  double sum = 0;
  for (size_t r = 0; r < kRates; r++) sum += sensitivity[r * kStepsBetween];
  return sum / double(kRates);
}

// The percentile interval that holds the fraction `confidence` of the values, picked as the script does.
void set_interval(Estimate& estimate, std::vector<double> values, double confidence) {
  std::ranges::sort(values);
  const auto pick = [&](double p) { return values[std::min(size_t(p * double(values.size())), values.size() - 1)]; };
  const double tail = (1 - confidence) / 2;
  estimate.low = values.empty() ? NAN : pick(tail);
  estimate.high = values.empty() ? NAN : pick(1 - tail);
}

}  // namespace

Froc froc(const Matching& matching, const FrocOptions& options) {
  check(options.resamples >= 0, "froc: ", options.resamples, " resamples");
  check(options.confidence > 0 && options.confidence < 1, "froc: a confidence of ", options.confidence,
        "; it must lie between 0 and 1");
  const size_t scans = matching.scans.size();
  double rates[kPoints], value[kPoints], thresholds[kPoints];
  for (size_t p = 0; p < kPoints; p++) rates[p] = rate_of(p);
  const Sorted sorted(matching.outcomes);
  if (!sensitivities(matching, sorted, std::vector<int32_t>(scans, 1), rates, value, thresholds))
    fail("no nodule in ", counted(scans, "scan"),
         "; without nodules no sensitivity is defined. Do annotations and scans belong together?");

  // Row r is resample r. Draw i of resample r is a function of (seed, r, i): the number of threads changes nothing.
  const int64_t n = options.resamples;
  std::vector<double> drawn(n * kPoints);
  std::vector<uint8_t> defined(n);
  parallel(n, /*pays=*/true, [&](int64_t r) {
    std::vector<int32_t> times(scans, 0);
    for (size_t i = 0; i < scans; i++) times[int64_t(random_uniform(options.seed, r * scans + i) * double(scans))]++;
    defined[r] = sensitivities(matching, sorted, times, rates, &drawn[r * kPoints]);
  });

  Froc result;
  result.resamples = std::count(defined.begin(), defined.end(), 1);
  std::vector<double> values;
  const auto collect = [&](auto of_row) {
    values.clear();
    for (int64_t r = 0; r < n; r++)
      if (defined[r]) values.push_back(of_row(&drawn[r * kPoints]));
  };
  for (size_t p = 0; p < kPoints; p++) {
    FrocPoint point{rates[p], {value[p]}, thresholds[p]};
    collect([&](const double* row) { return row[p]; });
    set_interval(point.sensitivity, values, options.confidence);
    result.curve.push_back(point);
  }
  result.cpm.value = mean_at_rates(value);
  collect(mean_at_rates);
  set_interval(result.cpm, values, options.confidence);
  result.resampled_cpms = values;
  return result;
}

Estimate cpm_difference(const Froc& a, const Froc& b, double confidence) {
  const std::vector<double>&of_a = a.resampled_cpms, &of_b = b.resampled_cpms;
  check(of_a.size() == of_b.size(), "cpm_difference: ", of_a.size(), " and ", of_b.size(),
        " resamples; both must be of the same scans and options");
  std::vector<double> differences(of_a.size());
  std::ranges::transform(of_a, of_b, differences.begin(), std::minus<>());
  Estimate difference{a.cpm.value - b.cpm.value};
  set_interval(difference, differences, confidence);
  return difference;
}

double area_under_roc(const std::vector<double>& nodules, const std::vector<double>& others) {
  if (nodules.empty() || others.empty()) return NAN;
  std::vector<double> sorted = others;
  std::ranges::sort(sorted);
  double won = 0;
  for (double score : nodules) {
    const auto [ties, larger] = std::equal_range(sorted.begin(), sorted.end(), score);
    won += double(ties - sorted.begin()) + double(larger - ties) / 2;
  }
  return won / double(nodules.size()) / double(others.size());
}

}  // namespace acinus
