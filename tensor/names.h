// The names that the values of an enum have in files, settings and messages. One table, beside the enum, serves both
// directions:
//
//   enum class Up { transpose, nearest, bilinear };
//   inline EnumNames<Up> enum_names(Up) {
//     return {"upsampling", {{"transpose", Up::transpose}, {"nearest", Up::nearest}, {"bilinear", Up::bilinear}}};
//   }
//
//   name(Up::nearest)    -> "nearest"
//   named<Up>("nearest") -> Up::nearest
//   named<Up>("cubic")      Error: unknown upsampling "cubic"; known are transpose, nearest, bilinear
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tensor/check.h"

namespace acinus {

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
