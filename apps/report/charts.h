// The plots of the pages: curves over epochs, FROC curves, histograms and scatter plots.
//
//   page += svg_curve({"Loss", "", {1, 2, 3}, {0.9, 0.4, 0.3}});
//   page += svg_froc({{"submission.csv", froc(matching)}});
//   page += svg_histogram({"x", "mm", {-0.4, 0.1, 1.2}});
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/scoring/froc.h"

namespace acinus {

struct Curve {
  std::string title, unit;   // "Memory", "MB"
  std::vector<double> x, y;  // epochs, ascending, and a value for each; those that are not finite are marked as lost
  bool from_zero = false;    // the axis begins at 0
  bool logarithmic = false;  // where the values span two decades or more
  int64_t best = -1;         // index of an epoch to mark with a vertical line
  bool show_best = false;    // with its value in words
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

}  // namespace acinus
