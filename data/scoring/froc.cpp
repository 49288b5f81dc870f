#include "data/scoring/froc.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr size_t kRates = std::size(kFrocRates), kStepsBetween = 16, kPoints = kStepsBetween * (kRates - 1) + 1;
using Points = std::array<double, kPoints>;  // a value for each rate of the curve

struct Curve {
  bool defined = false;  // false if no scan that was drawn has a nodule
  Points sensitivity, threshold;
};

// The curve where scan i was drawn times[i] times, from all outcomes by falling probability. Rounded as in the script,
// x = FP / n_fp * n_fp / n_scans: whether a point lies just left or right of a rate decides which of two values is read
// there.
Curve curve_of(const std::vector<ScanCount>& counts, const std::vector<Outcome>& outcomes,
               const std::vector<int32_t>& times, const Points& rates) {
  double nodules = 0, found = 0, false_positives = 0, scans = 0;
  for (size_t s = 0; s < times.size(); s++) {
    const ScanCount& count = counts[s];
    nodules += double(times[s] * count.nodules), found += double(times[s] * count.found);
    false_positives += double(times[s] * count.false_positives), scans += double(times[s]);
  }
  Curve curve;
  if (nodules == 0) return curve;
  curve.defined = true;
  size_t next = 0;
  int64_t true_count = 0, false_count = 0;
  double x = 0, y = 0, threshold = std::numeric_limits<double>::infinity();
  const auto line_to = [&](double x1, double y1) {
    for (; next < kPoints && rates[next] < x1; next++) {
      curve.sensitivity[next] = y + (y1 - y) / (x1 - x) * (rates[next] - x);
      curve.threshold[next] = threshold;
    }
    x = x1, y = y1;
  };
  for (size_t i = 0; i < outcomes.size() && next < kPoints; i++) {
    const Outcome& outcome = outcomes[i];
    (outcome.is_nodule ? true_count : false_count) += times[outcome.scan];
    // Equally probable ones are accepted together.
    if (i + 1 < outcomes.size() && outcomes[i + 1].probability == outcome.probability) continue;
    line_to(false_count == 0 ? 0 : double(false_count) / false_positives * false_positives / scans,
            true_count == 0 ? 0 : double(true_count) / found * found / nodules);
    threshold = outcome.probability;
  }
  line_to(std::numeric_limits<double>::infinity(), y);
  return curve;
}

double mean_at_rates(const Points& sensitivity) {
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
  Points rates;
  for (size_t p = 0; p < kPoints; p++) rates[p] = std::exp2(-3 + double(p) / kStepsBetween);
  std::vector<Outcome> sorted = matching.outcomes;
  std::ranges::stable_sort(sorted, std::greater<>(), &Outcome::probability);
  const Curve curve = curve_of(matching.scans, sorted, std::vector<int32_t>(scans, 1), rates);
  if (!curve.defined)
    fail("no nodule in ", counted(scans, "scan"),
         "; without nodules no sensitivity is defined. Do annotations and scans belong together?");

  // Draw i of resample r is a function of (seed, r, i): the number of threads changes nothing.
  std::vector<Curve> drawn(options.resamples);
  parallel(options.resamples, /*pays=*/true, [&](int64_t r) {
    std::vector<int32_t> times(scans, 0);
    for (size_t i = 0; i < scans; i++) times[int64_t(random_uniform(options.seed, r * scans + i) * double(scans))]++;
    drawn[r] = curve_of(matching.scans, sorted, times, rates);
  });
  std::erase_if(drawn, [](const Curve& resample) { return !resample.defined; });

  Froc result;
  result.resamples = int64_t(drawn.size());
  const auto of_each = [&](auto value) {
    std::vector<double> values;
    for (const Curve& resample : drawn) values.push_back(value(resample.sensitivity));
    return values;
  };
  for (size_t p = 0; p < kPoints; p++) {
    FrocPoint point{rates[p], {curve.sensitivity[p]}, curve.threshold[p]};
    set_interval(point.sensitivity, of_each([&](const Points& row) { return row[p]; }), options.confidence);
    result.curve.push_back(point);
  }
  result.cpm.value = mean_at_rates(curve.sensitivity);
  result.resampled_cpms = of_each(mean_at_rates);
  set_interval(result.cpm, result.resampled_cpms, options.confidence);
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
