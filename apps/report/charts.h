// Plots of an evaluation, as SVG for a page (apps/report/plot.h); values show where the pointer rests.
//
//   page += svg_froc({{"submission.csv", froc(matching)}});
//   page += svg_histogram({"x", "mm", {-0.4, 0.1, 1.2}});
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/scoring/froc.h"

namespace acinus {

// Sensitivity over false positives a scan, 1/8 to 8, each doubling as wide; the interval is shaded, the seven rates of
// the CPM are marked. Several curves have a colour each, and a legend.
std::string svg_froc(const std::vector<std::pair<std::string, Froc>>& curves);

struct Values {
  std::string title, unit;
  std::vector<double> values;
};
std::string svg_histogram(const Values& values);
// y over x, with the line on which both are equal.
std::string svg_scatter(const Values& x, const Values& y);

}  // namespace acinus
