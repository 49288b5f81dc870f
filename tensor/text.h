// Text: numbers and enums to text and back, the same in every locale, and lines and words of what was read. (text() is in
// check.h)
#pragma once
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/check.h"

namespace acinus {

// ---- numbers

// True if all of `text` is one number that T can hold.
//   int64_t n;  parse("12", n) -> true;  parse("12mm", n), parse("", n) -> false
template <class T>
bool parse(std::string_view text, T& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string shortest(double value);                // that parse() reads back as the very same number: 0.7, -195, 1e-05
std::string number(double value, int digits = 5);  // significant digits, and all before the point: 0.81712, 1.8e-8, nan
std::string fixed(double value, int decimals);     // 0.8000
std::string percent(double fraction, int digits = 3);  // 0.1234 -> "12.3 %"

inline std::string counted(int64_t n, const char* noun) {  // "1 scan", "2 scans"
  return text(n, " ", noun, n == 1 ? "" : "s");
}

// ---- lines and words

constexpr bool is_blank(char c) { return c == ' ' || ('\t' <= c && c <= '\r'); }
std::string_view trimmed(std::string_view text);             // without blanks at both ends
std::vector<std::string_view> words(std::string_view text);  // separated by blanks
std::string_view next_line(std::string_view& rest);          // removes it from the front of `rest`
std::string shown(std::string_view text);                    // at most 60 printable characters, for a message

// ---- the names that the values of an enum have in files, settings and messages
// One table, beside the enum, serves both directions:
//
//   enum class Up { transpose, nearest, bilinear };
//   inline EnumNames<Up> enum_names(Up) {
//     return {"upsampling", {{"transpose", Up::transpose}, {"nearest", Up::nearest}, {"bilinear", Up::bilinear}}};
//   }
//
//   name(Up::nearest)    -> "nearest"
//   named<Up>("nearest") -> Up::nearest
//   named<Up>("cubic")      Error: unknown upsampling "cubic"; known are transpose, nearest, bilinear

template <class Enum>
struct EnumNames {
  const char* what;  // for messages
  std::vector<std::pair<const char*, Enum>> values;
};

template <class Enum>
auto name(Enum value) -> decltype(enum_names(value).what) {
  for (const auto& [its_name, its_value] : enum_names(value).values)
    if (its_value == value) return its_name;
  return "?";
}

template <class Enum>
Enum named(const std::string& name) {
  const EnumNames<Enum> names = enum_names(Enum());
  std::string known;
  for (const auto& [its_name, its_value] : names.values) {
    if (name == its_name) return its_value;
    known += std::string(known.empty() ? "" : ", ") + its_name;
  }
  fail("unknown ", names.what, " \"", name, "\"; known are ", known);
}

}  // namespace acinus
