#include "apps/common/settings.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {
namespace {

using json = nlohmann::ordered_json;
using Field = Settings::Field;

std::string flag_of(const Field& field) { return (field.is_argument ? "" : "--") + field.name; }

std::string printed(const Field& field) {
  if (field.words) return field.words->empty() ? "" : field.words->front() + (field.words->size() > 1 ? " ..." : "");
  const Settings::Value value = field.get();
  if (const auto* real = std::get_if<double>(&value)) return shortest(*real);
  if (const auto* string = std::get_if<std::string>(&value)) return *string;
  return std::visit([](const auto& v) { return json(v).dump(); }, value);
}

// What --help shows after the name: "nearest|bilinear|transpose [nearest]", "INT [12]".
std::string usage_of(const Field& field) {
  if (field.is_argument) return field.words ? "..." : "";
  std::string choices;
  for (const std::string& choice : field.choices) choices += (choices.empty() ? "" : "|") + choice;
  const std::string value = printed(field);
  return (choices.empty() ? field.type : choices) + (value.empty() ? "" : " [" + value + "]");
}

CLI::Option* add_option(CLI::App& app, const Field& field) {
  const std::string flag = flag_of(field);
  if (field.words) return app.add_option(flag, *field.words, field.help);
  // The value is not converted by CLI11: its strtold, rounded to double, turns 0.002877 into a neighbouring number.
  auto* option = app.add_option_function<std::string>(
      flag,
      [&field, flag](const std::string& given) {
        if (!field.set(given)) throw CLI::ValidationError(flag, text("\"", given, "\" is not ", field.type));
      },
      field.help);
  option->take_last();
  if (field.type == "true|false") option->expected(0, 1)->default_str("true");  // --recompute: --recompute true
  if (!field.choices.empty()) option->check(CLI::IsMember(field.choices));
  if (std::isfinite(field.low))  // CLI::Range would print a limit of 1e-12 as 0.000000
    option->check([&field](const std::string& given) {
      double value;
      if (!parse(given, value) || (value >= field.low && value <= field.high)) return std::string();
      return text("must be ", std::isinf(field.high) ? "at least " : "between ", number(field.low),
                  std::isinf(field.high) ? "" : text(" and ", number(field.high)), ", not ", given);
    });
  return option;
}

// How many letters must be changed, inserted or deleted to turn a into b (Levenshtein 1966).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); j++)
      diagonal = std::exchange(row[j], std::min({row[j - 1] + 1, row[j] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

// Appends --name=value. CLI11 takes an empty value only as a word of its own.
void append(std::vector<std::string>& words, const std::string& name, const std::string& value) {
  words.push_back("--" + name + (value.empty() ? "" : "=" + value));
  if (value.empty()) words.push_back("");
}

// {"train": {"lr": 0.1}} -> train.lr, "0.1"
void flatten(const json& j, const std::string& prefix, std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : j.items()) {
    if (value.is_object())
      flatten(value, prefix + key + ".", out);
    else
      out.emplace_back(prefix + key, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

}  // namespace

Settings::Value Settings::value_of(const std::vector<int64_t>& numbers) {
  std::string list;
  for (int64_t n : numbers) list += (list.empty() ? "" : ",") + std::to_string(n);
  return list;
}

bool Settings::assign(const std::string& list, std::vector<int64_t>& numbers) {
  numbers.clear();
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');)
    if (!acinus::parse(trimmed(word), numbers.emplace_back())) return false;
  return true;
}

Settings::Settings(std::string program, std::string description)
    : program_(std::move(program)), description_(std::move(description)) {}

// Describes the first flag that is not a setting, and the setting that may have been meant; "" if there is none.
std::string Settings::unknown_flag(const Words& words) const {
  for (const std::string& word : words) {
    const std::string flag = word.substr(0, word.find('='));
    const auto is_meant = [&](const auto& known) { return "--" + known.name == flag; };
    if (!flag.starts_with("--") || flag == "--config" || flag == "--help" || std::ranges::any_of(fields_, is_meant))
      continue;
    const auto gone = std::ranges::find_if(retired_, is_meant);
    if (gone != retired_.end()) return text(flag, " is gone: ", gone->instead);
    const Field* nearest = nullptr;
    size_t min_distance = 3;  // a word with three wrong letters is another word
    for (const Field& field : fields_) {
      const std::string last = field.name.substr(field.name.rfind('.') + 1);  // of train.lr: lr
      const size_t distance = std::min(edit_distance(field.name, flag.substr(2)), edit_distance(last, flag.substr(2)));
      if (!field.is_argument && distance < min_distance) min_distance = distance, nearest = &field;
    }
    return text("there is no setting ", flag, nearest ? "; did you mean --" + nearest->name + "?" : "");
  }
  return "";
}

// Applies words of the command line or, where `file` is named, those that stand for its contents. False: --help.
bool Settings::read(Words words, const std::string& file) {
  const bool from_file = !file.empty();
  CLI::App app(description_, program_);
  app.get_formatter()->column_width(36);
  if (from_file)
    app.set_help_flag();
  else
    app.add_option("--config", config_, "a JSON file of settings, such as a run's config.json")->option_text("FILE");
  for (const Field& field : fields_) {
    if (field.is_argument && from_file) continue;
    CLI::Option* option = add_option(app, field)->required(field.is_argument)->option_text(usage_of(field));
    const size_t dot = field.name.find('.');
    if (dot != std::string::npos) option->group(field.name.substr(0, dot));
  }
  try {
    app.parse(Words(words.rbegin(), words.rend()));  // CLI11 takes the last word first
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    const std::string unknown = unknown_flag(words);
    throw UsageError(text(file, from_file ? ": " : "", unknown.empty() ? e.what() : unknown));
  }
  given_.clear();
  for (const Field& field : fields_)
    if (!field.is_argument && app.count("--" + field.name) > 0) given_.push_back(field.name);
  return true;
}

bool Settings::parse(int argc, char** argv) {
  for (Field& field : fields_) field.initially = printed(field);
  Words words;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--set" && i + 1 < argc) word = text("--set=", argv[++i]);
    if (word.starts_with("--set")) {
      if (std::ranges::count(word, '=') < 2)
        throw UsageError(text("--set ", word.substr(std::min<size_t>(word.size(), 6)),
                              ": must be name=value of a setting, such as --set train.lr=3e-4"));
      word = "--" + word.substr(6);
    }
    if (word.starts_with("--") && word.ends_with('='))
      append(words, word.substr(2, word.size() - 3), "");
    else
      words.push_back(word);
  }
  if (!read(words, "")) return false;
  const Words of_file = config_.empty() ? Words() : words_of(read_file(config_, 1 << 20), config_);
  const auto apply = [&] {
    if (!config_.empty()) read(of_file, config_);
    read(words, "");
  };
  apply();
  if (change_defaults_) {
    change_defaults_();
    apply();
  }
  if (complete_) complete_();
  return true;
}

Settings::Words Settings::words_of(const std::string& json_text, const std::string& file) const {
  std::vector<std::pair<std::string, std::string>> values;
  try {
    const json settings = json::parse(json_text);
    if (!settings.is_object()) fail(file, ": must hold a JSON object, as a run's config.json does");
    flatten(settings, "", values);
  } catch (const json::exception& e) {
    const std::string_view what = e.what();  // "[json.exception...] parse error at line 1, column 23: ..."
    fail(file, ": is not valid JSON: ", what.substr(what.find(']') + 2));
  }
  Words words;
  for (const auto& [name, value] : values) {
    const auto gone = std::ranges::find(retired_, name, &Retired::name);
    if (gone == retired_.end())
      append(words, name, value);
    else if (value != gone->off)
      throw UsageError(text(file, ": ", name, " is gone: ", gone->instead));
  }
  return words;
}

void Settings::set(const std::string& json_text, const std::string& source) {
  read(words_of(json_text, source), source);
  if (complete_) complete_();
}

void Settings::print() const {
  for (const Field& field : fields_)
    if (printed(field) != field.initially) std::printf("  %-22s %s\n", field.name.c_str(), printed(field).c_str());
}

std::string Settings::to_json() const {
  json all = json::object();
  for (const Field& field : fields_) {
    if (field.is_argument) continue;
    json* group = &all;
    std::string name = field.name;
    for (size_t dot; (dot = name.find('.')) != std::string::npos; name = name.substr(dot + 1))
      group = &(*group)[name.substr(0, dot)];
    std::visit([&](const auto& value) { (*group)[name] = value; }, field.get());
  }
  return all.dump(2) + "\n";
}

}  // namespace acinus
