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
#include <initializer_list>
#include <ostream>
#include <stdexcept>
#include <string>

namespace acinus {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Any value that operator<< prints. So a message costs the compiler one list and one call; a function of its own for each
// combination of types (literals of different lengths are different types) took it a quarter of its time.
struct Printable {
  const void* value;
  void (*print)(std::ostream& out, const void* value);
};
template <class T>
Printable printable(const T& value) {
  return {&value, [](std::ostream& out, const void* v) { out << *static_cast<const T*>(v); }};
}
inline Printable printable(const char* value) {
  return {value, [](std::ostream& out, const void* v) { out << static_cast<const char*>(v); }};
}

std::string text(std::initializer_list<Printable> values);
[[noreturn]] void fail(std::initializer_list<Printable> values);

// The text of all arguments, one after the other, as operator<< prints them.
template <class... Args>
std::string text(const Args&... args) {
  return text({printable(args)...});
}

// Throws an Error about user input (a file, a flag), for which the line of our source would only be noise.
template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  fail({printable(args)...});
}

// A condition and its line in the source.
struct Condition {
  bool holds;
  const char* file;
  int line;
  Condition(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : holds(holds), file(file), line(line) {}
};
std::ostream& operator<<(std::ostream& out, const Condition& condition);  // " [tensor/ops/add.cu:8]"

template <class... Args>
void check(Condition condition, const Args&... args) {
  if (!condition.holds) fail({printable(args)..., printable(condition)});
}

}  // namespace acinus
