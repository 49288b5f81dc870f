#include "apps/report/plot.h"

#include <algorithm>
#include <utility>

#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

Plot::Plot(Axis x_axis, Axis y_axis, PlotSize plot_size)
    : x(std::move(x_axis)), y(std::move(y_axis)), size(std::move(plot_size)) {
  size_t letters = 1;
  for (size_t i = 0; i < y.ticks.size(); i++) letters = std::max(letters, tick_name(y, i).size());
  left = 14 + 7 * double(letters);
}

double Plot::x_of(double value) const { return left + (size.right() - left) * std::clamp(x.at(value), 0.0, 1.0); }

double Plot::y_of(double value) const {
  return size.bottom() + (size.top() - size.bottom()) * std::clamp(y.at(value), 0.0, 1.0);
}

std::string Plot::axes() const {
  const double bottom = size.bottom(), right = size.right();
  std::string svg = "<g class='axes'>\n";
  for (size_t i = 0; i < y.ticks.size(); i++) {
    const double at = y_of(y.ticks[i]);
    svg += text("<path d='M", px(left), " ", px(at), "H", px(right), "'/><text x='", px(left - 6), "' y='", px(at + 4),
                "' text-anchor='end'>", tick_name(y, i), "</text>\n");
  }
  for (size_t i = 0; i < x.ticks.size(); i++) {
    const double at = x_of(x.ticks[i]);
    svg += text("<path d='M", px(at), " ", px(bottom), "v4'/><text x='", px(at), "' y='", px(bottom + 18),
                "' text-anchor='middle'>", tick_name(x, i), "</text>\n");
  }
  svg += text("<path class='frame' d='M", px(left), " ", px(size.top()), "V", px(bottom), "H", px(right), "'/>\n");
  if (!size.y_label.empty()) svg += text("<text x='", px(left - 6), "' y='14'>", escaped(size.y_label), "</text>\n");
  return svg + text("<text x='", px(right), "' y='", px(bottom + 34), "' text-anchor='end'>", escaped(size.x_label),
                    "</text>\n</g>\n");
}

std::string px(double value) { return fixed(value, 1); }

std::string tick_name(const Axis& axis, size_t tick) {
  return tick < axis.names.size() ? axis.names[tick] : number(axis.ticks[tick], 6);
}

std::string svg_frame(const PlotSize& size, const std::string& label, const std::string& content) {
  return text("<svg viewBox='0 0 ", size.width, " ", size.height, "' role='img' aria-label='", escaped(label), "'>\n",
              content, "</svg>\n");
}

std::string series(size_t i) { return text("s", i % kSeries); }

std::string svg_file(const std::string& svg) {
  // The same as the page's, in words that every program for drawings understands (no variables).
  std::string style =
      "text{font:12px sans-serif;fill:#5a6673}path{fill:none;stroke:#e8ecf0}.frame{stroke:#5a6673}"
      ".line{stroke-width:2;stroke-linejoin:round}.band{stroke:none;fill-opacity:.16}.at path{stroke:none}";
  const char* const colours[kSeries] = {"#1c5f9f", "#a8480c", "#23764a", "#8a3c8f", "#5a6673"};
  for (size_t i = 0; i < kSeries; i++)
    style += text(".line.s", i, "{stroke:", colours[i], "}.band.s", i, ",.dot.s", i, "{fill:", colours[i], "}");
  const size_t attributes = svg.find("<svg ") + 5, content = svg.find(">\n") + 2;
  return text("<svg xmlns='http://www.w3.org/2000/svg' ", svg.substr(attributes, content - attributes), "<style>",
              style, "</style>\n<rect width='100%' height='100%' fill='#fff'/>\n", svg.substr(content));
}

}  // namespace acinus
