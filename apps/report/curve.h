// A curve over the epochs as an SVG picture that stands in a web page: axes with ticks at round numbers, a mark at one
// epoch, and every value shown where the pointer rests, without scripts (<title>).
//
//   page += svg_curve({"Loss", "", {1, 2, 3}, {0.9, 0.4, 0.3}});
//
// The classes of its parts (axes, line, at, mark, lost) get their colours from the page's style sheet.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace acinus {

struct Curve {
  std::string title, unit;   // "Memory", "MB"
  std::vector<double> x, y;  // epochs, rising, and values: as many; those that are not finite are marked as lost
  bool from_zero = false;    // the axis begins at 0
  bool decades = false;      // a logarithmic axis where the values span two decades or more
  int64_t mark = -1;         // index of a point to mark, with a line over the whole height
  bool mark_value = false;   // ... and what it is in words
};
std::string svg_curve(const Curve& curve);

// Where an axis has ticks, and how far along it a value lies (0..1).
struct Axis {
  double low = 0, high = 1;  // low < high
  bool logarithmic = false;
  std::vector<double> ticks = {};
  std::vector<std::string> names = {};  // of the ticks, where they are not their numbers

  double at(double value) const;
};
// Ticks at 1, 2 or 5 times a power of ten, about `count`; a range too small to be told apart is widened by a tenth.
Axis linear_axis(double low, double high, int count, double least_step = 0);
Axis logarithmic_axis(double low, double high);  // 0 < low, ticks at powers of ten

std::string escaped(const std::string& plain);  // to stand in HTML and SVG, between tags or in an attribute

}  // namespace acinus
