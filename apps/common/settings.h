// The settings of a program, with names like train.lr. Each can be given as --train.lr 1e-3, as --set train.lr=1e-3, or
// in a JSON file named by --config as {"train": {"lr": 1e-3}}. The command line overrides the file, and the file the
// defaults. A setting is any variable, usually a field of one of the library's options structs:
//
//   UNetOptions net;
//   Settings settings("train", "Trains a U-Net.");
//   settings.add("net.depth", net.depth, "how often the encoder halves the image").between(0, 8);
//   settings.add("net.up", net.up, "how the decoder doubles the image");         an enum with names (tensor/text.h)
//   if (!settings.parse(argc, argv)) return 0;                                   --help was given
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "tensor/text.h"

namespace acinus {

// A command line or a configuration that makes no sense: the program ends with exit code 2 instead of 1.
struct UsageError : Error {
  using Error::Error;
};

class Settings {
 public:
  using Value = std::variant<bool, int64_t, double, std::string>;  // as config.json holds it
  struct Field {
    std::string name, help, type = {};  // type: what --help says it takes, such as INT
    std::function<Value()> get = {};
    std::function<bool(const std::string&)> set = {};  // from text; false if it is not of the type
    std::vector<std::string> choices = {};
    double low = -INFINITY, high = INFINITY;
    bool is_argument = false;
    std::vector<std::string>* words = nullptr;  // of an argument that takes several
    std::string initially = {};                 // before parse()

    Field& between(double min, double max) { return low = min, high = max, *this; }
    Field& one_of(std::vector<std::string> names) { return choices = std::move(names), *this; }
  };
  Settings(std::string program, std::string description)
      : program_(std::move(program)), description_(std::move(description)) {}
  // The value so far is the default.
  template <class T>
  Field& add(const std::string& name, T& value, const std::string& help) {
    constexpr bool is_bool = std::is_same_v<T, bool>, is_int = std::is_integral_v<T> && !is_bool;
    Field& field = fields_.emplace_back(Field{name, help});
    if constexpr (std::is_enum_v<T>)
      for (const auto& known : enum_names(value).values) field.choices.emplace_back(known.first);
    else
      field.type = is_bool ? "true|false" : is_int ? "INT" : std::is_arithmetic_v<T> ? "NUMBER" : "TEXT";
    field.get = [&value]() -> Value {
      if constexpr (std::is_enum_v<T>)
        return std::string(acinus::name(value));
      else if constexpr (is_int)
        return int64_t(value);
      else
        return value;
    };
    field.set = [&value](const std::string& text) {
      if constexpr (std::is_enum_v<T>)
        value = named<T>(text);
      else if constexpr (is_bool)
        value = text == "true";
      else if constexpr (std::is_arithmetic_v<T>)
        return acinus::parse(text, value) && std::isfinite(double(value));
      else
        value = text;
      return !is_bool || text == "true" || text == "false";
    };
    return field;
  }
  Field& add(const std::string& name, std::vector<int64_t>& values, const std::string& help);  // comma-separated
  // Positional arguments, such as predict SCAN: one, or one or more.
  void add_argument(const std::string& name, std::string& value, const std::string& help);
  void add_argument(const std::string& name, std::vector<std::string>& values, const std::string& help);
  // A setting that is gone. A configuration in which it has the value `off` is still read; any other value is an error
  // that says what there is `instead`.
  void retire(const std::string& name, const std::string& off, const std::string& instead) {
    retired_.push_back({name, off, instead});
  }
  // Called once the values are known, to change defaults that depend on them (presets); the command line and the file
  // are applied once more afterwards.
  void on_defaults(std::function<void()> change) { change_defaults_ = std::move(change); }
  // Called whenever settings have been read, to complete what depends on several of them.
  void on_read(std::function<void()> complete) { complete_ = std::move(complete); }
  // False if --help was given; the help has then been printed. Throws UsageError.
  bool parse(int argc, char** argv);
  // Applies the settings in a JSON text such as to_json() returns. `source` is named in error messages.
  void set(const std::string& json, const std::string& source);
  const std::vector<std::string>& given() const { return given_; }  // the names on the command line
  void print() const;           // a table of the settings that differ from their defaults
  std::string to_json() const;  // what --config reads

 private:
  bool read(const std::vector<std::string>& words);
  void read_json(const std::string& json, const std::string& source);
  std::string unknown(const std::string& name) const;

  std::string program_, description_, config_;
  std::vector<Field> fields_;
  struct Retired {
    std::string name, off, instead;
  };
  std::vector<Retired> retired_;
  std::vector<std::string> given_;
  std::function<void()> change_defaults_, complete_;
};

std::vector<std::string> split_list(const std::string& list);  // "a, b" -> "a", "b"

}  // namespace acinus
