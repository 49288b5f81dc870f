#include "tensor/io/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tensor/text.h"

namespace acinus {

using nlohmann::ordered_json;

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

const Json& Json::path(std::string_view names) const {
  const size_t dot = names.find('.');
  const Json& member = at(names.substr(0, dot));
  return dot == names.npos ? member : member.path(names.substr(dot + 1));
}

Json& Json::path(std::string_view names) {
  const size_t dot = names.find('.');
  Json& member = (*this)[names.substr(0, dot)];
  return dot == names.npos ? member : member.path(names.substr(dot + 1));
}

// ---- text ----------------------------------------------------------------------------------------------------------

namespace {

// What nlohmann's parser calls as it reads. No value of the library's in between: its objects would search all their
// names for each new one. A function returns true: read on.
struct Builder : nlohmann::json_sax<ordered_json> {
  std::string_view text;
  std::istringstream stream{std::string(text)};
  Json result;
  std::vector<Json*> open;         // lists and objects whose end has not come yet
  std::set<std::string> names[8];  // in each of them

  explicit Builder(std::string_view text) : text(text) {}

  [[noreturn]] void error(size_t end, const std::string& problem) const {
    const std::string_view read = text.substr(0, end);
    throw JsonError(acinus::text("line ", std::ranges::count(read, '\n') + 1, ", column ",
                                 read.size() - (read.rfind('\n') + 1), ": ", problem));
  }
  bool parse_error(size_t end, const std::string&, const ordered_json::exception& e) override {
    if (e.id == 406) error(end, "a number that double cannot hold");
    // [...] parse error at line 1, column 2: what is wrong; last read: 'as many bytes as it likes'
    const std::string what = e.what();
    const size_t begin = what.find(": ");
    error(end, what.substr(begin + 2, what.find("; last read") - begin - 2));
  }

  Json& add(Json json) {
    if (open.empty()) return result = std::move(json);
    if (auto* list = std::get_if<Json::List>(&open.back()->value)) return list->emplace_back(std::move(json));
    return std::get<Json::Object>(open.back()->value).back().second = std::move(json);
  }
  bool null() override { return add({}), true; }
  bool boolean(bool v) override { return add(v), true; }
  bool number_integer(int64_t v) override { return add(v), true; }
  bool number_unsigned(uint64_t v) override { return add(std::in_range<int64_t>(v) ? Json(v) : Json(double(v))), true; }
  bool number_float(double v, const std::string&) override { return add(v), true; }
  bool string(std::string& v) override { return add(std::move(v)), true; }
  bool binary(ordered_json::binary_t&) override { return false; }  // not in text

  bool start(Json empty) {
    if (open.size() == std::size(names)) error(size_t(stream.tellg()), "nested too deeply");
    names[open.size()].clear();
    return open.push_back(&add(std::move(empty))), true;
  }
  bool start_array(size_t) override { return start(Json::List()); }
  bool end_array() override { return open.pop_back(), true; }
  bool start_object(size_t) override { return start(Json::Object()); }
  bool end_object() override { return open.pop_back(), true; }
  bool key(std::string& name) override {
    if (!names[open.size() - 1].insert(name).second)
      error(size_t(stream.tellg()), "the name \"" + shown(name) + "\" occurs twice");
    return std::get<Json::Object>(open.back()->value).emplace_back(std::move(name), Json()), true;
  }
};

}  // namespace

Json parse_json(std::string_view text) {
  Builder builder(text);
  const size_t zero = text.find('\0');  // which the library takes for the end
  if (zero != text.npos) builder.error(zero + 1, "a byte of value 0");
  ordered_json::sax_parse(builder.stream, &builder);
  return std::move(builder.result);
}

// By this the library converts a Json to its own value.
static void to_json(ordered_json& out, const Json& json) {
  const auto* members = json.get<Json::Object>();
  if (!members) return std::visit([&](const auto& value) { out = value; }, json.value);
  out = ordered_json::object();
  for (const auto& [name, member] : *members) out[name] = member;
}

std::string to_text(const Json& json, int indent) try {
  return ordered_json(json).dump(indent ? indent : -1);
} catch (const ordered_json::exception& e) {
  throw JsonError(text("a text is not in UTF-8, as JSON is: ", e.what()));
}

}  // namespace acinus
