// The plots of the pages as SVG pictures: curves over epochs, FROC curves, histograms and scatter plots (charts.cpp), and
// the lines with shaded intervals, dots, bars and axes of which they are made (svg_plot.cpp). Values show where the
// pointer rests (<title>), without scripts.
//
//   page += svg_curve({"Loss", "", {1, 2, 3}, {0.9, 0.4, 0.3}});
//   page += svg_froc({{"submission.csv", froc(matching)}});
//   page += svg_histogram({"x", "mm", {-0.4, 0.1, 1.2}});
//   page += svg_plot({{.x = {1, 2, 3}, .y = {0.9, 0.4, 0.3}}},
//                    {.label = "Loss over epochs", .x = linear_axis(1, 3, 8), .y = linear_axis(0, 1, 5)});
//
// The page's style sheet (apps/report/style.css) has the colours, by class; svg_file() adds them to a plot that is saved
// alone.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/scoring/froc.h"

namespace acinus {

struct Curve {
  std::string title, unit;     // "Memory", "MB"
  std::vector<double> x = {};  // epochs, ascending
  std::vector<double> y = {};  // a value for each; those that are not finite are marked as lost
  bool from_zero = false;      // the axis begins at 0
  bool logarithmic = false;    // where the values span two decades or more
  int64_t best = -1;           // index of an epoch to mark with a vertical line
  bool show_best = false;      // with its value in words
};
std::string svg_curve(const Curve& curve);

// Sensitivity over false positives per scan, 1/8 to 8 on a logarithmic axis, with confidence intervals and a dot at each
// of the seven rates of the CPM.
std::string svg_froc(const std::vector<std::pair<std::string, Froc>>& curves);

struct Values {
  std::string title, unit;
  std::vector<double> values;
};
std::string svg_histogram(const Values& values);
// y over x, with the line y = x.
std::string svg_scatter(const Values& x, const Values& y);

// The same as a file of its own: white background, the colours of the light page.
std::string svg_file(const std::string& svg);

// ---- what they are made of

struct Axis {
  double low = 0, high = 1;  // low < high
  bool logarithmic = false;
  std::vector<double> ticks = {};
  std::vector<std::string> names = {};  // of the ticks; empty: their numbers
  std::string title = {};

  double at(double value) const;  // how far along the axis it is, 0..1
};
// Ticks at 1, 2 or 5 times a power of ten, about `count` of them and at least `min_step` apart. A range too small for
// distinct ticks is widened by a tenth.
Axis linear_axis(double low, double high, int count, double min_step = 0);
Axis logarithmic_axis(double low, double high);  // 0 < low; ticks at powers of ten

struct Dot {
  double x = 0, y = 0;
  std::string title = {};       // shown on hover
  double from = NAN, to = NAN;  // hover anywhere between these x, at any height; NaN: near the dot only
  bool lost = false;            // a value is not finite: a cross at the foot of the plot
};
struct Bar {
  double from = 0, to = 0, height = 0;
  std::string title = {};
};
struct Series {
  std::string name = {};                    // for the legend, which plots with several names have
  std::string style = "line";               // CSS class of the line; "mark": dotted
  std::vector<double> x = {}, y = {};       // the line; interrupted where y is NaN
  std::vector<double> low = {}, high = {};  // of a shaded interval around it, or empty
  std::vector<Dot> dots = {};
  std::vector<Bar> bars = {};
};
struct PlotOptions {
  std::string label;  // what screen readers say
  Axis x = {}, y = {};
  double width = 420, height = 196;  // in SVG units, without the legend; the page scales it
  Dot note = {};                     // a point to mark, with its title beside it, if there is one
  std::string message = {};          // shown instead of an empty plot
};
// The series have the colours of the classes s0, s1, ... s4, s0, ...
std::string svg_plot(const std::vector<Series>& series, const PlotOptions& options);

}  // namespace acinus
