#include "apps/report/svg_plot.h"

#include <algorithm>
#include <limits>

#include "apps/report/html.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr size_t kColours = 5;
constexpr size_t kMaxVisibleDots = 40;  // on a line; the dots of longer ones show on hover only
constexpr double kLegendLine = 17;      // height

std::string px(double value) { return fixed(value, 1); }

std::string tick_name(const Axis& axis, size_t tick) {
  return tick < axis.names.size() ? axis.names[tick] : number(axis.ticks[tick], 6);
}

// Where things are in the picture, in SVG units.
struct Frame {
  const PlotOptions& o;
  double left, right, top, bottom;

  explicit Frame(const PlotOptions& options) : o(options) {
    size_t letters = 1;
    for (size_t i = 0; i < o.y.ticks.size(); i++) letters = std::max(letters, tick_name(o.y, i).size());
    left = 14 + 7 * double(letters), right = o.width - 8;
    top = o.y.title.empty() ? 12 : 26, bottom = o.height - 40;
  }
  double x(double value) const { return left + (right - left) * std::clamp(o.x.at(value), 0.0, 1.0); }
  double y(double value) const { return bottom + (top - bottom) * std::clamp(o.y.at(value), 0.0, 1.0); }
  std::string point(double px_x, double px_y) const { return text(px(x(px_x)), " ", px(y(px_y))); }
};

std::string rectangle(double left, double top, double right, double bottom) {
  return text("<path d='M", px(left), " ", px(bottom), "V", px(top), "H", px(right), "V", px(bottom), "z'/>");
}

std::string axes(const Frame& f) {
  const Axis &x = f.o.x, &y = f.o.y;
  std::string svg = "<g class='axes'>\n";
  for (size_t i = 0; i < y.ticks.size(); i++) {
    const double at = f.y(y.ticks[i]);
    svg += text("<path d='M", px(f.left), " ", px(at), "H", px(f.right), "'/><text x='", px(f.left - 6), "' y='",
                px(at + 4), "' text-anchor='end'>", tick_name(y, i), "</text>\n");
  }
  for (size_t i = 0; i < x.ticks.size(); i++) {
    const double at = f.x(x.ticks[i]);
    svg += text("<path d='M", px(at), " ", px(f.bottom), "v4'/><text x='", px(at), "' y='", px(f.bottom + 18),
                "' text-anchor='middle'>", tick_name(x, i), "</text>\n");
  }
  svg += text("<path class='frame' d='M", px(f.left), " ", px(f.top), "V", px(f.bottom), "H", px(f.right), "'/>\n");
  if (!y.title.empty()) svg += text("<text x='", px(f.left - 6), "' y='14'>", escaped(y.title), "</text>\n");
  return svg + text("<text x='", px(f.right), "' y='", px(f.bottom + 34), "' text-anchor='end'>", escaped(x.title),
                    "</text>\n</g>\n");
}

std::string band(const Frame& f, const Series& s, const std::string& colour) {
  if (s.low.empty()) return "";
  std::string path;
  for (size_t i = 0; i < s.x.size(); i++) path += (i == 0 ? "M" : "L") + f.point(s.x[i], s.high[i]);
  for (size_t i = s.x.size(); i-- > 0;) path += "L" + f.point(s.x[i], s.low[i]);
  return text("<path class='band ", colour, "' d='", path, "z'/>\n");
}

// A value between two that are missing becomes a line of length 0, whose round ends show.
std::string line(const Frame& f, const Series& s, const std::string& colour) {
  if (s.x.empty()) return "";
  std::string path;
  for (size_t i = 0; i < s.x.size(); i++) {
    if (std::isnan(s.y[i])) continue;
    const std::string point = f.point(s.x[i], s.y[i]);
    if (i == 0 || std::isnan(s.y[i - 1])) path += "M" + point;
    path += "L" + point;
  }
  return text("<path class='", s.style, " ", colour, "' d='", path, "'/>\n");
}

std::string dots(const Frame& f, const Series& s, const std::string& colour) {
  if (s.dots.empty()) return "";
  std::string svg, crosses;
  for (const Dot& dot : s.dots) {
    const double x = f.x(dot.x), y = std::isnan(dot.y) ? f.bottom : f.y(dot.y);
    svg += text("<g class='at'><title>", escaped(dot.title), "</title>",  // and where the pointer may rest
                std::isnan(dot.from) ? rectangle(x - 9, y - 9, x + 9, y + 9)
                                     : rectangle(f.x(dot.from), f.top, f.x(dot.to), f.bottom));
    if (!std::isnan(dot.y)) svg += text("<circle class='dot ", colour, "' cx='", px(x), "' cy='", px(y), "' r='3'/>");
    svg += "</g>\n";
    if (dot.lost) crosses += text("<path class='lost' d='M", px(x - 3), " ", px(f.bottom - 6), "l6 6m0 -6l-6 6'/>\n");
  }
  const bool many = !s.x.empty() && s.dots.size() > kMaxVisibleDots;
  return text(crosses, "<g class='", many ? "many" : "few", "'>\n", svg, "</g>\n");
}

std::string bars(const Frame& f, const Series& s) {
  std::string svg;
  for (const Bar& bar : s.bars)
    svg += text("<g class='bars'><title>", escaped(bar.title), "</title>",
                rectangle(f.x(bar.from) + 0.5, f.y(bar.height), f.x(bar.to) - 0.5, f.bottom), "</g>\n");
  return svg;
}

std::string note(const Frame& f, const Dot& dot) {
  if (dot.title.empty()) return "";
  const double x = f.x(dot.x);
  const bool at_left = x > f.o.width / 2;  // of the point, or the text would not fit in
  return text("<circle class='mark' cx='", px(x), "' cy='", px(f.y(dot.y)), "' r='4.5'/><text class='mark' x='",
              px(at_left ? x - 7 : x + 7), "' y='", px(f.bottom - 9), "' text-anchor='", at_left ? "end" : "start",
              "'>", escaped(dot.title), "</text>\n");
}

}  // namespace

// Halved, so that the difference of the largest numbers is finite, too.
double Axis::at(double value) const {
  if (logarithmic) return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
  return (value / 2 - low / 2) / (high / 2 - low / 2);
}

Axis linear_axis(double low, double high, int count, double min_step) {
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
  step = std::max(step, min_step);
  Axis axis{low, high};
  const double first = std::ceil(low / step - 1e-6);
  for (int i = 0; first + i <= high / step + 1e-6 && i <= 2 * count; i++)
    axis.ticks.push_back((first + i) * step + 0.0);  // + 0.0: no -0
  return axis;
}

Axis logarithmic_axis(double low, double high) {
  Axis axis{low, high, true};
  const int first = int(std::ceil(std::log10(low) - 1e-9)), last = int(std::floor(std::log10(high) + 1e-9));
  for (int power = first, step = (last - first) / 6 + 1; power <= last; power += step)
    axis.ticks.push_back(std::pow(10, power));
  return axis;
}

std::string svg_plot(const std::vector<Series>& series, const PlotOptions& options) {
  const Frame frame(options);
  std::string bands, lines, points, legend;
  double height = options.height;
  const auto named = std::ranges::count_if(series, [](const Series& s) { return !s.name.empty(); });
  if (named > 1) height += 18 + kLegendLine * double(named);
  double legend_y = frame.bottom + 54;
  for (size_t i = 0; i < series.size(); i++) {
    const Series& s = series[i];
    const std::string colour = text("s", i % kColours);
    bands += band(frame, s, colour);
    lines += line(frame, s, colour);
    points += dots(frame, s, colour) + bars(frame, s);
    if (named > 1 && !s.name.empty()) {
      legend += text("<path class='line ", colour, "' d='M", px(frame.left), " ", px(legend_y - 4), "h22'/><text x='",
                     px(frame.left + 28), "' y='", px(legend_y), "'>", escaped(s.name), "</text>\n");
      legend_y += kLegendLine;
    }
  }
  const std::string content =
      options.message.empty()
          ? axes(frame) + bands + lines + note(frame, options.note) + points + legend
          : text("<text class='none' x='", options.width / 2, "' y='", height / 2, "'>", options.message, "</text>\n");
  return text("<svg viewBox='0 0 ", options.width, " ", height, "' role='img' aria-label='", escaped(options.label),
              "'>\n", content, "</svg>\n");
}

std::string svg_file(const std::string& svg) {
  // The page's colours again, without variables, which not every drawing program understands.
  std::string style =
      "text{font:12px sans-serif;fill:#5a6673}path{fill:none;stroke:#e8ecf0}.frame{stroke:#5a6673}"
      ".line{stroke-width:2;stroke-linejoin:round}.band{stroke:none;fill-opacity:.16}.at path{stroke:none}";
  const char* const colours[kColours] = {"#1c5f9f", "#a8480c", "#23764a", "#8a3c8f", "#5a6673"};
  for (size_t i = 0; i < kColours; i++)
    style += text(".line.s", i, "{stroke:", colours[i], "}.band.s", i, ",.dot.s", i, "{fill:", colours[i], "}");
  const size_t attributes = svg.find("<svg ") + 5, content = svg.find(">\n") + 2;
  return text("<svg xmlns='http://www.w3.org/2000/svg' ", svg.substr(attributes, content - attributes), "<style>",
              style, "</style>\n<rect width='100%' height='100%' fill='#fff'/>\n", svg.substr(content));
}

}  // namespace acinus
