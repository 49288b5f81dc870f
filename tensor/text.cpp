#include "tensor/text.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace acinus {

std::string text(std::initializer_list<Printable> values) {
  std::ostringstream out;
  for (const Printable& value : values) value.print(out, value.value);
  return out.str();
}

void fail(std::initializer_list<Printable> values) { throw Error(text(values)); }

std::ostream& operator<<(std::ostream& out, const Condition& condition) {
  return out << " [" << condition.file << ":" << condition.line << "]";
}

template <class... Format>
static std::string to_text(double value, Format... format) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value, format...).ptr};
}

std::string shortest(double value) { return to_text(value); }

// 1e-05 is what to_chars writes; 1e-5 is what people read, and 81559 rather than 8.1559e4.
std::string number(double value, int digits) {
  const double size = std::abs(value);
  if (size >= 1 && size < 1e9) digits = std::max(digits, int(std::log10(size)) + 1);
  const std::string plain = to_text(value, std::chars_format::general, digits);
  const size_t e = plain.find('e');
  return e == plain.npos ? plain : plain.substr(0, e + 1) + std::to_string(std::stoi(plain.substr(e + 1)));
}

std::string fixed(double value, int decimals) {
  return std::abs(value) < 1e9 ? to_text(value, std::chars_format::fixed, decimals) : number(value);
}

std::string percent(double fraction, int digits) { return number(100 * fraction, digits) + " %"; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> result;
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    result.push_back(text.substr(0, std::find_if(text.begin(), text.end(), is_blank) - text.begin()));
    text.remove_prefix(result.back().size());
  }
  return result;
}

std::string_view next_line(std::string_view& rest) {
  const std::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  return line;
}

std::string shown(std::string_view text) {
  std::string result(text.substr(0, 60));
  std::ranges::replace_if(
      result, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.size() > 60 ? result + "..." : result;
}

}  // namespace acinus
