#include "apps/checks/checks.h"

#include <algorithm>
#include <cstdlib>

#include "apps/common/cli.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr const char* kNames[] = {"note", "warning", "error"};
constexpr const char* kMarks[] = {"·", "!", "✗"};
constexpr const char* kColours[] = {"2", "33", "31"};

// In colour on a terminal (https://no-color.org).
std::string coloured(const char* code, const std::string& words) {
  static const bool on = is_terminal() && !(std::getenv("NO_COLOR") && *std::getenv("NO_COLOR"));
  return on ? text("\033[", code, "m", words, "\033[0m") : words;
}

}  // namespace

bool Findings::has_errors() const {
  return std::any_of(begin(), end(), [](const Finding& f) { return f.level == Level::error; });
}

std::string shown(const Finding& f) {
  std::string out = text("  ", coloured(kColours[int(f.level)], kMarks[int(f.level)]), " ", f.what, "\n");
  if (!f.cure.empty()) out += text("    ", coloured("2", "→ " + f.cure), "\n");
  return out;
}

std::string one_line(const Finding& f) { return f.cure.empty() ? f.what : text(f.what, ". ", f.cure); }

std::string tally(const Findings& findings) {
  if (findings.empty()) return "nothing wrong was found";
  std::string parts;
  for (const Level level : {Level::error, Level::warning, Level::note})
    if (const auto n = std::ranges::count(findings, level, &Finding::level); n > 0)
      parts += text(parts.empty() ? "" : ", ", counted(n, kNames[int(level)]));
  return text(counted(findings.size(), "finding"), ": ", parts);
}

}  // namespace acinus
