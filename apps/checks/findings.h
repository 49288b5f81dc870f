// Something that is wrong, or worth knowing, and what to do about it. ./doctor prints findings (apps/checks/checks.h);
// ./train runs the same checks on its data and its first results.
//
//   for (const Finding& f : check_data(data)) std::printf("%s", shown(f).c_str());
//     ✗ 14 of 15 annotated centres lie outside their scan or are not denser than their surroundings; if the signs of x
//       and y are changed, 14 are denser
//       → the list is in RAS (NIfTI, 3D Slicer), LUNA16 is in LPS: negate coordX and coordY
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace acinus {

// A note is not a fault. A warning may be right in rare data. An error never is.
enum class Level { note, warning, error };

struct Finding {
  Level level = Level::note;
  std::string what, cure;  // what it is, with numbers and names; what to do about it, or ""
};

struct Findings : std::vector<Finding> {
  void add(Level level, std::string what, std::string cure) { push_back({level, std::move(what), std::move(cure)}); }
  void error(std::string what, std::string cure) { add(Level::error, std::move(what), std::move(cure)); }
  void warning(std::string what, std::string cure) { add(Level::warning, std::move(what), std::move(cure)); }
  void note(std::string what, std::string cure) { add(Level::note, std::move(what), std::move(cure)); }
  void append(const Findings& more) { insert(end(), more.begin(), more.end()); }
  bool has_errors() const;
};

std::string shown(const Finding& finding);     // two lines, in colours on a terminal
std::string one_line(const Finding& finding);  // for Report::findings
std::string tally(const Findings& findings);   // "2 findings: 1 error, 1 note"

}  // namespace acinus
