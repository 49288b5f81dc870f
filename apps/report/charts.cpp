#include <algorithm>
#include <cmath>
#include <set>

#include "apps/report/svg_plot.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

// Of longer runs the smallest and the largest value of several epochs are drawn, so that pages stay small.
constexpr size_t kMaxPoints = 250;
constexpr int kBins = 16;

bool has_interval(const Estimate& e) { return std::isfinite(e.low) && std::isfinite(e.high); }

Axis titled(Axis axis, const std::string& title) {
  axis.title = title;
  return axis;
}

// Draws epochs begin to end - 1 as their smallest and largest value, and a dot that shows these.
void draw_epochs(Series& series, const Curve& c, size_t begin, size_t end, bool logarithmic) {
  std::vector<size_t> drawn;  // those whose value lies on the axis
  bool lost = false;
  for (size_t i = begin; i < end; i++) {
    lost = lost || !std::isfinite(c.y[i]);
    if (std::isfinite(c.y[i]) && (!logarithmic || c.y[i] > 0)) drawn.push_back(i);
  }
  std::string value = number(c.y[begin]);
  if (drawn.empty()) {
    series.x.push_back(c.x[begin]), series.y.push_back(NAN);
  } else {
    const auto height = [&](size_t i) { return c.y[i]; };
    const size_t smallest = *std::ranges::min_element(drawn, {}, height),
                 largest = *std::ranges::max_element(drawn, {}, height);
    for (size_t i : std::set{smallest, largest}) series.x.push_back(c.x[i]), series.y.push_back(c.y[i]);
    value = number(c.y[smallest]) + (smallest != largest ? " to " + number(c.y[largest]) : "");
  }
  const bool several = end - begin > 1;
  series.dots.push_back(
      {.x = series.x.back(),
       .y = series.y.back(),
       .title = text("epoch ", number(c.x[begin], 9), several ? " to " + number(c.x[end - 1], 9) : "", ": ", value,
                     several && lost ? ", some not finite" : "", c.unit.empty() ? "" : " ", c.unit),
       .from = begin == 0 ? -INFINITY : c.x[begin - 1] / 2 + c.x[begin] / 2,
       .to = end == c.x.size() ? INFINITY : c.x[end - 1] / 2 + c.x[end] / 2,
       .lost = lost});
}

}  // namespace

std::string svg_curve(const Curve& c) {
  check(c.x.size() == c.y.size(), "curve: ", c.x.size(), " epochs and ", c.y.size(), " values");
  const size_t n = c.y.size();
  double low = INFINITY, high = -INFINITY, lowest_positive = INFINITY;
  for (double y : c.y)
    if (std::isfinite(y)) {
      low = std::min(low, y), high = std::max(high, y);
      if (y > 0) lowest_positive = std::min(lowest_positive, y);
    }
  if (!(low <= high)) {
    const char* why = n == 0 ? "no epoch yet" : "no finite value";
    return svg_plot({}, {.label = text(c.title, ": ", why), .message = why});
  }
  const auto shown = [&](double y) { return number(y) + (c.unit.empty() ? "" : " " + c.unit); };
  PlotOptions options{.label = text(c.title, ": ", counted(n, "epoch"), ", from ", shown(c.y.front()), " to ",
                                    shown(c.y.back()), "; minimum ", shown(low), ", maximum ", shown(high))};
  const bool logarithmic = c.logarithmic && lowest_positive < high / 100;
  if (c.from_zero && !logarithmic) {
    if (low == 0 && high == 0) high = 1;
    low = std::min(low, 0.0), high = std::max(high, 0.0);
  }
  const double margin = c.x.front() < c.x.back() ? 0 : 0.5;  // a single epoch is in the middle
  options.x = titled(linear_axis(c.x.front() - margin, c.x.back() + margin, 8, 1), "epoch");
  options.y =
      logarithmic ? titled(logarithmic_axis(lowest_positive, high), "logarithmic scale") : linear_axis(low, high, 5);
  Series values, best{.style = "mark"};
  const size_t step = (n + kMaxPoints - 1) / kMaxPoints;
  for (size_t i = 0; i < n; i += step) draw_epochs(values, c, i, std::min(i + step, n), logarithmic);
  if (c.best >= 0 && c.best < int64_t(n)) {
    const double x = c.x[c.best], y = c.y[c.best];
    best.x = {x, x}, best.y = {options.y.low, options.y.high};
    if (c.show_best && std::isfinite(y) && (!logarithmic || y > 0))
      options.note = {x, y, text("best: ", fixed(y, 4), " in epoch ", number(x, 9))};
  }
  return svg_plot({values, best}, options);
}

std::string svg_froc(const std::vector<std::pair<std::string, Froc>>& curves) {
  const size_t rates = std::size(kFrocRates);
  PlotOptions options{.label = "FROC curve", .width = 480, .height = 320};
  options.x = titled(logarithmic_axis(kFrocRates[0], kFrocRates[rates - 1]), "false positives per scan");
  options.x.ticks.assign(std::begin(kFrocRates), std::end(kFrocRates));
  options.x.names.assign(std::begin(kFrocRateNames), std::end(kFrocRateNames));
  options.y = titled(linear_axis(0, 1, 5), "sensitivity");
  std::vector<Series> all;
  for (const auto& [name, f] : curves) {
    options.label += text(all.empty() ? ": " : "; ", name, ", CPM ", fixed(f.cpm.value, 3));
    Series s{.name = name};
    for (const FrocPoint& p : f.curve) {
      s.x.push_back(p.rate), s.y.push_back(p.sensitivity.value);
      if (has_interval(f.cpm)) s.low.push_back(p.sensitivity.low), s.high.push_back(p.sensitivity.high);
    }
    for (size_t r = 0; r < rates; r++) {
      const auto& [rate, sensitivity, threshold] = f.at(r);
      const auto& [value, low, high] = sensitivity;
      s.dots.push_back({rate, value,
                        text(name, ": ", fixed(value, 3), " at ", kFrocRateNames[r],
                             rate > 1 ? " false positives" : " false positive", " per scan",
                             has_interval(sensitivity) ? text(" (", fixed(low, 3), " to ", fixed(high, 3), ")") : "")});
    }
    all.push_back(std::move(s));
  }
  return svg_plot(all, options);
}

std::string svg_histogram(const Values& v) {
  check(!v.values.empty(), "histogram: no values");
  const auto [low, high] = std::ranges::minmax(v.values);
  // The axis goes from one round number to another, so that ticks are at the ends of bins.
  Axis x = linear_axis(low, high, 5);
  const double step = x.ticks.size() > 1 ? x.ticks[1] - x.ticks[0] : x.high - x.low;
  x = titled(linear_axis(std::floor(x.low / step) * step, std::ceil(x.high / step) * step, 5), v.unit);
  std::vector<int64_t> counts(kBins, 0);
  for (double value : v.values) counts[std::clamp(int(x.at(value) * kBins), 0, kBins - 1)]++;
  Series series;
  const double width = (x.high - x.low) / kBins;
  for (int i = 0; i < kBins; i++) {
    const double from = x.low + width * i;
    if (counts[i] > 0)
      series.bars.push_back({from, from + width, double(counts[i]),
                             text(number(from, 3), " to ", number(from + width, 3), " ", v.unit, ": ", counts[i])});
  }
  return svg_plot({series}, {.label = text(v.title, ": histogram of ", v.values.size(), " values"),
                             .x = x,
                             .y = titled(linear_axis(0, double(std::ranges::max(counts)), 4, 1), "nodules")});
}

std::string svg_scatter(const Values& x, const Values& y) {
  const size_t n = x.values.size();
  check(n > 0 && n == y.values.size(), "scatter plot: ", n, " and ", y.values.size(), " values");
  const Axis axis = linear_axis(0, 1.05 * std::max({std::ranges::max(x.values), std::ranges::max(y.values), 1e-9}), 5);
  Series points, equal{.style = "mark", .x = {0, axis.high}, .y = {0, axis.high}};
  for (size_t i = 0; i < n; i++)
    points.dots.push_back({x.values[i], y.values[i],
                           text(number(x.values[i], 3), " ", x.unit, ", ", number(y.values[i], 3), " ", y.unit)});
  return svg_plot({points, equal}, {.label = text(y.title, " over ", x.title, ", ", n, " nodules"),
                                    .x = titled(axis, text(x.title, ", ", x.unit)),
                                    .y = titled(axis, text(y.title, ", ", y.unit)),
                                    .height = 260});
}

}  // namespace acinus
