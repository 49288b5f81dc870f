#include "apps/report/charts.h"

#include <algorithm>
#include <cmath>

#include "apps/report/plot.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

Axis froc_axis() {
  return {kFrocRates[0],
          kFrocRates[std::size(kFrocRates) - 1],
          true,
          {std::begin(kFrocRates), std::end(kFrocRates)},
          {std::begin(kFrocRateNames), std::end(kFrocRateNames)}};
}

std::string point_of(const Plot& plot, double x, double y) { return text(px(plot.x_of(x)), " ", px(plot.y_of(y))); }

bool has_interval(const Estimate& e) { return std::isfinite(e.low) && std::isfinite(e.high); }

std::string band(const Plot& plot, const Froc& f, const std::string& colour) {
  if (!has_interval(f.cpm)) return "";
  std::string path;
  for (const FrocPoint& p : f.curve) path += (path.empty() ? "M" : "L") + point_of(plot, p.rate, p.sensitivity.high);
  for (auto p = f.curve.rbegin(); p != f.curve.rend(); p++) path += "L" + point_of(plot, p->rate, p->sensitivity.low);
  return text("<path class='band ", colour, "' d='", path, "z'/>\n");
}

std::string line(const Plot& plot, const Froc& f, const std::string& name, const std::string& colour) {
  std::string path, dots;
  for (const FrocPoint& p : f.curve) path += (path.empty() ? "M" : "L") + point_of(plot, p.rate, p.sensitivity.value);
  for (size_t r = 0; r < std::size(kFrocRates); r++) {
    const FrocPoint& p = f.at(r);
    const double x = plot.x_of(p.rate), y = plot.y_of(p.sensitivity.value);
    dots += text("<g class='at'><title>", escaped(name), ": ", fixed(p.sensitivity.value, 3), " at ", kFrocRateNames[r],
                 p.rate > 1 ? " false positives a scan" : " false positive a scan",
                 has_interval(p.sensitivity)
                     ? text(" (", fixed(p.sensitivity.low, 3), " to ", fixed(p.sensitivity.high, 3), ")")
                     : "",
                 "</title><path d='M", px(x - 9), " ", px(y - 9), "h18v18h-18z'/><circle class='dot ", colour, "' cx='",
                 px(x), "' cy='", px(y), "' r='3.2'/></g>\n");
  }
  return text("<path class='line ", colour, "' d='", path, "'/>\n<g class='few'>\n", dots, "</g>\n");
}

// A range that holds all of these.
std::pair<double, double> range(const std::vector<double>& values) {
  const auto [low, high] = std::ranges::minmax_element(values);
  return {*low, *high};
}

constexpr int kBins = 16;

}  // namespace

std::string svg_froc(const std::vector<std::pair<std::string, Froc>>& curves) {
  const double line_height = 17, below = curves.size() > 1 ? 18 + line_height * double(curves.size()) : 0;
  const Plot plot{froc_axis(),
                  linear_axis(0, 1, 5),
                  {.x_label = "false positives a scan",
                   .y_label = "sensitivity",
                   .width = 480,
                   .height = 320 + below,
                   .below = below}};
  std::string svg = plot.axes(), bands, lines, legend, label = "FROC curve";
  for (size_t i = 0; i < curves.size(); i++) {
    const auto& [name, f] = curves[i];
    bands += band(plot, f, series(i));
    lines += line(plot, f, name, series(i));
    label += text(i == 0 ? ": " : "; ", name, ", CPM ", fixed(f.cpm.value, 3));
    const double y = plot.size.bottom() + 54 + line_height * double(i);
    if (curves.size() > 1)
      legend += text("<path class='line ", series(i), "' d='M", px(plot.left), " ", px(y - 4), "h22'/><text x='",
                     px(plot.left + 28), "' y='", px(y), "'>", escaped(name), "</text>\n");
  }
  return svg_frame(plot.size, label, svg + bands + lines + legend);
}

std::string svg_histogram(const Values& v) {
  check(!v.values.empty(), "histogram: no values");
  const auto [low, high] = range(v.values);
  // Ticks stand on the ends of bins: the axis goes from one round number to another.
  Axis x = linear_axis(low, high, 5);
  const double step = x.ticks.size() > 1 ? x.ticks[1] - x.ticks[0] : x.high - x.low;
  x.low = std::floor(x.low / step) * step, x.high = std::ceil(x.high / step) * step;
  x = linear_axis(x.low, x.high, 5);
  std::vector<int64_t> counts(kBins, 0);
  for (double value : v.values) counts[size_t(std::clamp(int(x.at(value) * kBins), 0, kBins - 1))]++;
  const Plot plot{
      x, linear_axis(0, double(*std::ranges::max_element(counts)), 4, 1), {.x_label = v.unit, .y_label = "nodules"}};
  std::string bars;
  const double width = (x.high - x.low) / kBins;
  for (size_t i = 0; i < kBins; i++) {
    const double from = x.low + width * double(i), left = plot.x_of(from), right = plot.x_of(from + width);
    if (counts[i] > 0)
      bars += text("<g class='bars'><title>", number(from, 3), " to ", number(from + width, 3), " ", escaped(v.unit),
                   ": ", counts[i], "</title><path d='M", px(left + 0.5), " ", px(plot.size.bottom()), "V",
                   px(plot.y_of(double(counts[i]))), "H", px(right - 0.5), "V", px(plot.size.bottom()), "z'/></g>\n");
  }
  return svg_frame(plot.size, text(v.title, ": histogram of ", v.values.size(), " values"), plot.axes() + bars);
}

std::string svg_scatter(const Values& x, const Values& y) {
  check(!x.values.empty() && x.values.size() == y.values.size(), "scatter: ", x.values.size(), " and ", y.values.size(),
        " values");
  const double most = std::max({range(x.values).second, range(y.values).second, 1e-9});
  const Axis axis = linear_axis(0, most * 1.05, 5);
  const Plot plot{
      axis, axis, {.x_label = text(x.title, ", ", x.unit), .y_label = text(y.title, ", ", y.unit), .height = 260}};
  std::string dots =
      text("<path class='mark' d='M", point_of(plot, 0, 0), "L", point_of(plot, axis.high, axis.high), "'/>\n");
  for (size_t i = 0; i < x.values.size(); i++)
    dots += text("<g><title>", number(x.values[i], 3), " ", escaped(x.unit), ", ", number(y.values[i], 3), " ",
                 escaped(y.unit), "</title><circle cx='", px(plot.x_of(x.values[i])), "' cy='",
                 px(plot.y_of(y.values[i])), "' r='2.6'/></g>\n");
  return svg_frame(plot.size, text(y.title, " over ", x.title, ", ", x.values.size(), " nodules"), plot.axes() + dots);
}

}  // namespace acinus
