#include "apps/report/curve.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "apps/report/plot.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

// More points than this are drawn as the smallest and the largest of several epochs: the page stays small.
constexpr size_t kMostPoints = 250;
constexpr size_t kMostDots = 40;  // up to so many have a dot each

const PlotSize kFrame;

std::string frame_with(const Curve& c, const std::string& label, const std::string& content) {
  return svg_frame(kFrame, c.title + label, content);
}

}  // namespace

std::string escaped(const std::string& plain) {
  std::string out;
  for (char c : plain) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:  // control characters have no place in HTML
        out += (c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == 127 ? "\xEF\xBF\xBD" : std::string(1, c);
    }
  }
  return out;
}

// Halves, so that the difference of the largest numbers is one, too.
double Axis::at(double value) const {
  if (logarithmic) return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
  return (value / 2 - low / 2) / (high / 2 - low / 2);
}

Axis linear_axis(double low, double high, int count, double least_step) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  const double size = std::max(std::abs(low), std::abs(high));
  if (high / 2 - low / 2 < 0.5e-4 * size || size < 1e-300) {
    const double more = size < 1e-300 ? 1 : size / 10;
    low = std::max(low - more, -kLargest), high = std::min(high + more, kLargest);
  }
  const double wanted = (high / 2 - low / 2) / count * 2, power = std::pow(10, std::floor(std::log10(wanted)));
  double step = 10 * power;
  for (double factor : {5, 2, 1})
    if (factor * power >= wanted) step = factor * power;
  step = std::max(step, least_step);
  Axis axis{low, high, false, {}};
  const double first = std::ceil(low / step - 1e-6);
  for (int i = 0; first + i <= high / step + 1e-6 && i <= 2 * count; i++)
    axis.ticks.push_back((first + i) * step + 0.0);  // + 0.0: no -0
  return axis;
}

Axis logarithmic_axis(double low, double high) {
  Axis axis{low, high, true, {}};
  const int first = int(std::ceil(std::log10(low) - 1e-9)), last = int(std::floor(std::log10(high) + 1e-9));
  for (int power = first, step = (last - first) / 6 + 1; power <= last; power += step)
    axis.ticks.push_back(std::pow(10, power));
  return axis;
}

std::string svg_curve(const Curve& c) {
  check(c.x.size() == c.y.size(), "curve: ", c.x.size(), " epochs and ", c.y.size(), " values");
  const size_t n = c.y.size();
  const auto drawable = [&](double y, bool logarithmic) { return std::isfinite(y) && (!logarithmic || y > 0); };
  double low = INFINITY, high = -INFINITY, lowest_positive = INFINITY;
  for (double y : c.y)
    if (std::isfinite(y)) {
      low = std::min(low, y), high = std::max(high, y);
      if (y > 0) lowest_positive = std::min(lowest_positive, y);
    }
  if (!(low <= high)) {
    const char* why = n == 0 ? "no epoch yet" : "no finite value";
    return frame_with(
        c, text(": ", why),
        text("<text class='none' x='", kFrame.width / 2, "' y='", kFrame.height / 2, "'>", why, "</text>\n"));
  }
  const bool logarithmic = c.decades && lowest_positive < high / 100;
  const Axis y_axis = logarithmic ? logarithmic_axis(lowest_positive, high)
                      : c.from_zero
                          ? linear_axis(std::min(low, 0.0), low == 0 && high == 0 ? 1 : std::max(high, 0.0), 5)
                          : linear_axis(low, high, 5);
  // One epoch alone stands in the middle.
  const double half = c.x.front() < c.x.back() ? 0 : 0.5;
  const Plot plot{linear_axis(c.x.front() - half, c.x.back() + half, 8, 1),
                  y_axis,
                  {.x_label = logarithmic ? "epoch, logarithmic scale" : "epoch"}};
  const double left = plot.left, right = kFrame.right(), top = kFrame.top(), bottom = kFrame.bottom();
  const auto x_of = [&](double x) { return plot.x_of(x); };
  const auto y_of = [&](double y) { return plot.y_of(y); };
  std::string svg = plot.axes();

  // The line is interrupted where a value is lost. A value between two of those is a line of no length, whose round
  // ends show.
  const size_t together = (n + kMostPoints - 1) / kMostPoints;
  std::string path, dots, lost;
  bool pen_down = false;
  for (size_t begin = 0, end; begin < n; begin = end) {
    end = std::min(begin + together, n);
    size_t smallest = n, largest = n;
    bool all_finite = true;
    for (size_t i = begin; i < end; i++) {
      all_finite = all_finite && std::isfinite(c.y[i]);
      if (!drawable(c.y[i], logarithmic)) continue;
      if (smallest == n || c.y[i] < c.y[smallest]) smallest = i;
      if (largest == n || c.y[i] > c.y[largest]) largest = i;
    }
    const double from = begin == 0 ? left : x_of(c.x[begin - 1] / 2 + c.x[begin] / 2),
                 to = end == n ? right : x_of(c.x[end - 1] / 2 + c.x[end] / 2);
    std::string value = number(c.y[begin]), circle;
    if (smallest < n) {
      const auto [first, second] = std::minmax(smallest, largest);
      for (size_t i : first == second ? std::vector{first} : std::vector{first, second}) {
        const std::string point = text(px(x_of(c.x[i])), " ", px(y_of(c.y[i])));
        path += pen_down ? text("L", point) : text("M", point, "L", point);
        pen_down = true;
      }
      circle = text("<circle cx='", px(x_of(c.x[second])), "' cy='", px(y_of(c.y[second])), "' r='2.6'/>");
      value = number(c.y[first]);
      if (first != second) value = text(number(c.y[smallest]), " to ", number(c.y[largest]));
    } else {
      pen_down = false;
    }
    if (!all_finite) {
      const double x = x_of(c.x[begin]);
      lost += text("<path class='lost' d='M", px(x - 3), " ", px(bottom - 6), "l6 6m0 -6l-6 6'/>\n");
      if (end - begin > 1) value += ", some not finite";
    }
    dots += text("<g class='at'><title>epoch ", number(c.x[begin], 9),
                 end - begin > 1 ? text(" to ", number(c.x[end - 1], 9)) : "", ": ", value, c.unit.empty() ? "" : " ",
                 escaped(c.unit), "</title><path d='M", px(from), " ", px(top), "H", px(std::max(from, to)), "V",
                 px(bottom), "H", px(from), "z'/>", circle, "</g>\n");
  }
  svg += text("<path class='line' d='", path, "'/>\n", lost);
  if (c.mark >= 0 && size_t(c.mark) < n) {
    const double x = x_of(c.x[size_t(c.mark)]), value = c.y[size_t(c.mark)];
    svg += text("<path class='mark' d='M", px(x), " ", px(top), "V", px(bottom), "'/>\n");
    if (c.mark_value && drawable(value, logarithmic)) {
      svg += text("<circle class='mark' cx='", px(x), "' cy='", px(y_of(value)), "' r='4.5'/><text class='mark' x='",
                  px(x > kFrame.width / 2 ? x - 7 : x + 7), "' y='", px(bottom - 9), "' text-anchor='",
                  x > kFrame.width / 2 ? "end" : "start", "'>best: ", fixed(value, 4), " in epoch ",
                  number(c.x[size_t(c.mark)], 9), "</text>\n");
    }
  }
  svg += text("<g class='", n > kMostDots ? "many" : "few", "'>\n", dots, "</g>\n");
  const std::string unit = c.unit.empty() ? "" : " " + c.unit;
  return frame_with(c,
                    text(": ", counted(n, "epoch"), ", from ", number(c.y.front()), unit, " to ", number(c.y.back()),
                         unit, "; least ", number(low), unit, ", most ", number(high), unit),
                    svg);
}

}  // namespace acinus
