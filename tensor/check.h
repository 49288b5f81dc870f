// check(condition, ...): how acinus reports what is wrong. It throws the one exception type, Error, which
// programs catch in one place (run_program, apps/common/cli.h). A message says what was wrong, with the values (both
// shapes, or the file and line of the input), and what to do about it:
//
//   check(a.shape() == b.shape(), "add: shapes differ: ", a.shape(), " vs ", b.shape(), "; nothing is broadcast");
//   -> add: shapes differ: (2,16,63,64) vs (2,16,64,64); nothing is broadcast [tensor/ops/add.cu:8]
//
// It is a function and not a macro: it cannot collide with another CHECK, and __builtin_LINE() as a default argument is
// evaluated at the call.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace acinus {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The text of all arguments, one after the other, as operator<< prints them.
template <class... Args>
std::string text(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

// Throws an Error about user input (a file, a flag), for which the line of our source would only be noise.
template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  throw Error(text(args...));
}

// A condition and its line in the source.
struct Condition {
  bool holds;
  const char* file;
  int line;
  Condition(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : holds(holds), file(file), line(line) {}
};

template <class... Args>
void check(Condition condition, const Args&... args) {
  if (!condition.holds) fail(args..., " [", condition.file, ":", condition.line, "]");
}

}  // namespace acinus
