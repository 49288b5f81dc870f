// The names that a value of an enum has in files and settings: one table serves both directions.
#pragma once
#include <string>
#include <utility>

#include "tensor/check.h"

namespace acinus {

template <class Enum, size_t N>
Enum find_name(const char* what, const std::pair<const char*, Enum> (&table)[N], const std::string& name) {
  std::string known;
  for (const auto& [its_name, value] : table) {
    if (name == its_name) return value;
    known += std::string(known.empty() ? "" : ", ") + its_name;
  }
  fail("unknown ", what, " \"", name, "\"; known are ", known);
}

template <class Enum, size_t N>
const char* find_value(const std::pair<const char*, Enum> (&table)[N], Enum value) {
  for (const auto& [its_name, its_value] : table)
    if (value == its_value) return its_name;
  return "?";
}

}  // namespace acinus
