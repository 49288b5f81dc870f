// JSON (RFC 8259): the headers of .safetensors files, settings, and what a run has to remember.
//
//   const Json j = parse_json(R"({"lr": 1e-3, "size": [512, 512]})");
//   j.at("lr").as<double>()                    -> 0.001
//   j.at("size").as<std::vector<int64_t>>()    -> {512, 512}
//   j.at("size").as<std::string>()                JsonError: [512,512] is not a text
//   Json out{{"lr", 1e-3}, {"size", std::vector{512, 512}}};
//   out["run"]["epoch"] = 3;
//   to_text(out)                               -> {"lr":0.001,"size":[512,512],"run":{"epoch":3}}
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/check.h"

namespace acinus {

struct JsonError : Error {
  using Error::Error;
};

struct Json {
  using List = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the text; no name occurs twice
  // A number without a point or an exponent is an int64_t, if it fits.
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, List, Object> value;

  Json() = default;
  Json(std::initializer_list<std::pair<std::string, Json>> members) : value(Object(members)) {}
  Json(bool v) : value(v) {}
  Json(const char* v) : value(std::string(v)) {}
  Json(std::string v) : value(std::move(v)) {}
  Json(List v) : value(std::move(v)) {}
  Json(Object v) : value(std::move(v)) {}
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  Json(T v) : value(std::conditional_t<std::is_integral_v<T>, int64_t, double>(v)) {}
  template <class T>
  Json(const std::vector<T>& v) : value(List(v.begin(), v.end())) {}
  template <class T, size_t n>
  Json(const std::array<T, n>& v) : value(List(v.begin(), v.end())) {}
  template <class T>
  Json(const std::map<std::string, T>& v) : value(Object(v.begin(), v.end())) {}

  // What it holds, if it is a List, an Object, ..., otherwise nullptr.
  template <class T>
  const T* get() const {
    return std::get_if<T>(&value);
  }
  // What it holds; JsonError if that is of another type.
  template <class T>
  T as() const {
    T out{};
    read(out);
    return out;
  }
  const Json* find(std::string_view name) const;  // nullptr if there is no such member, or this is not an object
  const Json& at(std::string_view name) const;    // JsonError instead
  Json& operator[](std::string_view name);        // added if it is not there yet; null becomes an object
  // at() and [] along a path: path("train.lr") is the member lr of the member train.
  const Json& path(std::string_view names) const;
  Json& path(std::string_view names);

 private:
  void read(bool& out) const;
  void read(double& out) const;  // also an int64_t
  void read(std::string& out) const;
  int64_t whole() const;
  const List& list() const;
  const Object& object() const;
  template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
  void read(T& out) const {
    out = T(whole());
  }
  void read(Json& out) const { out = *this; }
  template <class T>
  void read(std::vector<T>& out) const {
    for (const Json& item : list()) out.push_back(item.template as<T>());
  }
  template <class T, size_t n>
  void read(std::array<T, n>& out) const {
    const auto items = as<std::vector<T>>();
    if (items.size() != n) throw JsonError(text(items.size(), " values instead of ", n));
    std::copy(items.begin(), items.end(), out.begin());
  }
  template <class T>
  void read(std::map<std::string, T>& out) const {
    for (const auto& [name, item] : object()) out[name] = item.template as<T>();
  }
};

// JsonError: line 1, column 23: what is wrong. Numbers beyond double, nesting beyond 8 levels and a name that occurs
// twice in an object, of which other readers take either, are errors, too.
Json parse_json(std::string_view text);
// With an indent, a member or item a line. NaN and infinities, which JSON does not have, become null.
std::string to_text(const Json& json, int indent = 0);

}  // namespace acinus
