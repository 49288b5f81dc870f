// Text: numbers to text and back, the same in every locale, and lines and words of what was read. (text() is in check.h)
#pragma once
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
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

template <class Count>
std::string counted(Count n, const char* noun) {  // "1 scan", "2 scans"
  return text(n, " ", noun, n == 1 ? "" : "s");
}

// ---- lines and words

constexpr bool is_blank(char c) { return c == ' ' || ('\t' <= c && c <= '\r'); }
std::string_view trimmed(std::string_view text);             // without blanks at both ends
std::vector<std::string_view> words(std::string_view text);  // separated by blanks
std::string_view next_line(std::string_view& rest);          // removes it from the front of `rest`
std::string shown(std::string_view text);                    // at most 60 printable characters, for a message

}  // namespace acinus
