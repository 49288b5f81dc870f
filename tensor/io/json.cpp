#include "tensor/io/json.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tensor/text.h"

namespace acinus {

// ---- values ---------------------------------------------------------------------------------------------------------

template <class T>
static const T& expect(const Json& json, const char* what) {
  if (const T* value = json.get<T>()) return *value;
  const std::string there = to_text(json);
  throw JsonError(text(there.size() > 60 ? there.substr(0, 60) + "..." : there, " is not ", what));
}

void Json::read(bool& out) const { out = expect<bool>(*this, "true or false"); }
int64_t Json::whole() const { return expect<int64_t>(*this, "a whole number"); }
void Json::read(double& out) const {
  const auto* whole = get<int64_t>();
  out = whole ? double(*whole) : expect<double>(*this, "a number");
}
void Json::read(std::string& out) const { out = expect<std::string>(*this, "a text"); }
const Json::List& Json::list() const { return expect<List>(*this, "a list"); }
const Json::Object& Json::object() const { return expect<Object>(*this, "an object"); }

const Json* Json::find(std::string_view name) const {
  if (const Object* members = get<Object>())
    for (const auto& [its_name, member] : *members)
      if (its_name == name) return &member;
  return nullptr;
}

const Json& Json::at(std::string_view name) const {
  object();  // or an error
  if (const Json* member = find(name)) return *member;
  throw JsonError(text("\"", name, "\" is missing"));
}

Json& Json::operator[](std::string_view name) {
  if (const Json* member = find(name)) return const_cast<Json&>(*member);
  if (get<std::nullptr_t>()) value = Object();
  object();
  return std::get<Object>(value).emplace_back(name, Json()).second;
}

template <class Json>
static Json& follow(Json& json, std::string_view names) {
  const size_t dot = names.find('.');
  Json* member;
  if constexpr (std::is_const_v<Json>)
    member = &json.at(names.substr(0, dot));
  else
    member = &json[names.substr(0, dot)];
  return dot == names.npos ? *member : follow(*member, names.substr(dot + 1));
}

const Json& Json::path(std::string_view names) const { return follow(*this, names); }
Json& Json::path(std::string_view names) { return follow(*this, names); }

// ---- reading: one function for each kind of value, each begins where its text begins --------------------------------

namespace {

// Of a backslash and one of these letters, what it stands for.
constexpr std::string_view kEscapes = "\"\\/bfnrt", kEscaped = "\"\\/\b\f\n\r\t";

// How many bytes the first character has in UTF-8 (RFC 3629, section 4); 0 if it is none.
size_t utf8_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0; };
  const int first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  const size_t n = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if (byte(i) >> 6 != 2) return 0;
  const bool too_long = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);  // for its code
  const bool no_code = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return too_long || no_code ? 0 : n;
}

struct Parser {
  std::string_view text;
  size_t at = 0;
  int depth = 0;

  [[noreturn]] void error(const std::string& problem) const {
    const std::string_view before = text.substr(0, at);
    throw JsonError(acinus::text("line ", std::ranges::count(before, '\n') + 1, ", column ",
                                 at - (before.rfind('\n') + 1) + 1, ": ", problem));
  }
  char peek() const { return at < text.size() ? text[at] : '\0'; }
  bool skip(std::string_view word) {
    if (text.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }
  void skip_blanks() {
    while (at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) at++;
  }
  void digits() {
    if (!is_digit(peek())) error("expected a digit");
    while (is_digit(peek())) at++;
  }
  static bool is_digit(char c) { return '0' <= c && c <= '9'; }

  Json value() {
    if (skip("null")) return {};
    if (skip("true")) return true;
    if (skip("false")) return false;
    if (peek() == '"') return string();
    if (peek() == '-' || is_digit(peek())) return number();
    if (peek() != '[' && peek() != '{') error("expected a value");
    if (++depth > 8) error("nested too deeply");
    Json result = skip("[") ? list() : object();
    depth--;
    return result;
  }

  Json list() {
    Json::List items;
    skip_blanks();
    if (skip("]")) return items;
    do {
      skip_blanks();
      items.push_back(value());
      skip_blanks();
    } while (skip(","));
    if (!skip("]")) error("expected , or ]");
    return items;
  }

  Json object() {
    Json::Object members;
    std::set<std::string> names;
    skip("{");
    skip_blanks();
    if (skip("}")) return members;
    do {
      skip_blanks();
      if (peek() != '"') error("expected a name in quotes");
      std::string name = string();
      if (!names.insert(name).second) error("the name \"" + name + "\" occurs twice");
      skip_blanks();
      if (!skip(":")) error("expected :");
      skip_blanks();
      members.emplace_back(std::move(name), value());
      skip_blanks();
    } while (skip(","));
    if (!skip("}")) error("expected , or }");
    return members;
  }

  std::string string() {
    std::string out;
    skip("\"");
    while (!skip("\"")) {
      const size_t bytes = utf8_bytes(text.substr(at));
      if (uint8_t(peek()) < ' ' || bytes == 0) error("a text without an end, with a control character or not in UTF-8");
      if (skip("\\"))
        escaped(out);
      else
        out += text.substr(at, bytes), at += bytes;
    }
    return out;
  }

  void escaped(std::string& out) {
    const size_t which = at < text.size() ? kEscapes.find(text[at]) : kEscapes.npos;
    if (which != kEscapes.npos) return out += kEscaped[which], void(at++);
    uint32_t code = code_unit();
    if (code >= 0xd800 && code < 0xdc00) {  // the first half of a pair, for codes above 0xffff
      const uint32_t low = skip("\\") ? code_unit() : 0;
      if (low < 0xdc00 || low > 0xdfff) error("half of a pair of \\u");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      error("half of a pair of \\u");
    }
    const auto tail = [&](int shift) { out += char(0x80 | (code >> shift & 0x3f)); };
    if (code < 0x80)
      out += char(code);
    else if (code < 0x800)
      out += char(0xc0 | code >> 6), tail(0);
    else if (code < 0x10000)
      out += char(0xe0 | code >> 12), tail(6), tail(0);
    else
      out += char(0xf0 | code >> 18), tail(12), tail(6), tail(0);
  }

  uint32_t code_unit() {  // of \u00e9, after the backslash
    uint32_t code = 0;
    const std::string_view hex = text.substr(std::min(at + 1, text.size()), 4);
    const auto [end, problem] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    if (peek() != 'u' || problem != std::errc() || end != hex.data() + 4) error("unknown escape");
    at += 5;
    return code;
  }

  Json number() {
    const size_t begin = at;
    bool whole = true;
    skip("-");
    if (!skip("0")) digits();  // 01 is no number
    if (skip(".")) whole = false, digits();
    if (skip("e") || skip("E")) {
      whole = false;
      skip("+") || skip("-");
      digits();
    }
    int64_t integer;
    double real;
    const std::string_view digits = text.substr(begin, at - begin);
    if (whole && acinus::parse(digits, integer)) return integer;
    if (!acinus::parse(digits, real)) error("a number that double cannot hold");
    return real;
  }
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (size_t at = 0, bytes; at < text.size(); at += bytes) {
    bytes = utf8_bytes(std::string_view(text).substr(at));
    if (bytes == 0) throw JsonError(acinus::text("\"", shown(text), "\" is not in UTF-8, as JSON is"));
    const char c = text[at];
    const size_t which = c == '/' ? kEscaped.npos : kEscaped.find(c);
    if (which != kEscaped.npos)
      out += {'\\', kEscapes[which]};
    else if (uint8_t(c) < ' ')
      out += {'\\', 'u', '0', '0', char('0' + c / 16), "0123456789abcdef"[c % 16]};
    else
      out.append(text, at, bytes);
  }
  return out + "\"";
}

// Items or members, one a line if `indent` says so, between brackets.
template <class Items, class Print>
std::string enclosed(const char* brackets, const Items& items, int indent, int depth, Print print) {
  const auto line = [&](int depth) { return indent ? "\n" + std::string(size_t(indent * depth), ' ') : ""; };
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : ",") + line(depth + 1) + print(item);
  return brackets[0] + (out.empty() ? out : out + line(depth)) + brackets[1];
}

std::string to_text(const Json& json, int indent, int depth) {
  const auto inner = [&](const Json& value) { return to_text(value, indent, depth + 1); };
  if (const auto* b = json.get<bool>()) return *b ? "true" : "false";
  if (const auto* n = json.get<int64_t>()) return std::to_string(*n);
  if (const auto* s = json.get<std::string>()) return quoted(*s);
  if (const auto* list = json.get<Json::List>()) return enclosed("[]", *list, indent, depth, inner);
  if (const auto* members = json.get<Json::Object>())
    return enclosed("{}", *members, indent, depth, [&](const auto& member) {
      return quoted(member.first) + (indent ? ": " : ":") + inner(member.second);
    });
  const auto* real = json.get<double>();
  if (!real || !std::isfinite(*real)) return "null";
  const std::string digits = shortest(*real);
  return digits.find_first_of(".e") == digits.npos ? digits + ".0" : digits;  // or it would be read as an int64_t
}

}  // namespace

Json parse_json(std::string_view text) {
  Parser parser{text};
  parser.skip_blanks();
  Json json = parser.value();
  parser.skip_blanks();
  if (parser.at != text.size()) parser.error("something follows the value");
  return json;
}

std::string to_text(const Json& json, int indent) { return to_text(json, indent, 0); }

}  // namespace acinus
