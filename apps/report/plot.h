// The frame of every plot in a page (curves over epochs, FROC curves, histograms): axes with ticks and what they are
// of, as SVG. Colours come from the page's style sheet, by class; a plot in a file of its own brings them along.
//
//   const Plot plot{linear_axis(0, 9, 5), linear_axis(0, 1, 5), {.x_label = "mm", .height = 300}};
//   svg_frame(plot.size, "Dice over size", plot.axes() + text("<circle cx='", px(plot.x_of(3)), ...));
#pragma once
#include <string>

#include "apps/report/curve.h"

namespace acinus {

struct PlotSize {
  std::string x_label = {}, y_label = {};
  double width = 420, height = 196;  // of the picture, in units of SVG; the page scales it
  double below = 0;                  // room at the foot, for a legend
  double top() const { return y_label.empty() ? 12 : 26; }
  double bottom() const { return height - below - 40; }
  double right() const { return width - 8; }
};

struct Plot {
  Axis x, y;
  PlotSize size;
  double left = 0;  // where the axis of y stands: its labels need room

  Plot(Axis x_axis, Axis y_axis, PlotSize plot_size);
  double x_of(double value) const;  // clamped to the plot
  double y_of(double value) const;
  std::string axes() const;
};

std::string px(double value);                          // a place, to a tenth
std::string tick_name(const Axis& axis, size_t tick);  // what stands at it
// <svg>: `label` is read out to those who do not see it.
std::string svg_frame(const PlotSize& size, const std::string& label, const std::string& content);
// The same as a file: with a size, a white ground, and the colours of the light page.
std::string svg_file(const std::string& svg);

// Colours for several things in one plot: the class names s0, s1, ...
inline constexpr int kSeries = 5;
std::string series(size_t i);  // "s0", ...; after the last the first again

}  // namespace acinus
