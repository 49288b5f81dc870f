#include "apps/common/settings.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <sstream>

#include "tensor/io/file.h"
#include "tensor/io/json.h"
#include "tensor/text.h"

namespace acinus {
namespace {

using Field = Settings::Field;

std::string printed(const Field& field) {
  const Settings::Value value = field.get();
  if (const auto* real = std::get_if<double>(&value)) return shortest(*real);
  if (const auto* yes = std::get_if<bool>(&value)) return *yes ? "true" : "false";
  return std::visit([](const auto& v) { return text(v); }, value);
}

std::string joined(const std::vector<std::string>& list, const char* separator) {
  std::string out;
  for (const std::string& item : list) out += (out.empty() ? "" : separator) + item;
  return out;
}

// What --help shows after the name: "nearest|bilinear|transpose [nearest]", "INT [12]".
std::string usage_of(const Field& field) {
  const std::string value = printed(field);
  return (field.choices.empty() ? field.type : joined(field.choices, "|")) + (value.empty() ? "" : " [" + value + "]");
}

// CLI11 is not asked to convert and check the values: its strtold, rounded to double, turns 0.002877 into a neighbouring
// number, and its Range would print a limit of 1e-12 as 0.000000.
void assign(const Field& field, const std::string& given) {
  const auto need = [&](bool holds, const auto&... problem) {
    if (!holds) throw UsageError(text("--", field.name, ": ", problem...));
  };
  const bool is_known = field.choices.empty() || std::ranges::count(field.choices, given) > 0;
  need(is_known, given, " not in {", joined(field.choices, ","), "}");
  need(field.set(given), "\"", given, "\" is not ", field.type);
  double value;
  if (std::isinf(field.low) || !parse(given, value)) return;
  const std::string max = std::isinf(field.high) ? "" : " and " + number(field.high);
  need(value >= field.low && value <= field.high, "must be ", max.empty() ? "at least " : "between ", number(field.low),
       max, ", not ", given);
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

}  // namespace

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream rest(list);
  for (std::string part; std::getline(rest, part, ',');) parts.emplace_back(trimmed(part));
  return parts;
}

Field& Settings::add(const std::string& name, std::vector<int64_t>& values, const std::string& help) {
  Field& field = fields_.emplace_back(Field{name, help, "INT,INT,..."});
  field.get = [&values] {
    std::string list;
    for (int64_t value : values) list += (list.empty() ? "" : ",") + std::to_string(value);
    return list;
  };
  field.set = [&values](const std::string& list) {
    values.clear();
    return std::ranges::all_of(split_list(list),
                               [&](const auto& number) { return acinus::parse(number, values.emplace_back()); });
  };
  return field;
}

void Settings::add_argument(const std::string& name, std::string& value, const std::string& help) {
  Field& field = add(name, value, help);
  field.type = "", field.is_argument = true;
}

void Settings::add_argument(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  const auto get = [] { return std::string(); };
  fields_.push_back({.name = name, .help = help, .type = "...", .get = get, .is_argument = true, .words = &values});
}

// The message about a name that is not a setting, with the closest setting as a suggestion.
std::string Settings::unknown(const std::string& name) const {
  const auto gone = std::ranges::find(retired_, name, &Retired::name);
  if (gone != retired_.end()) return text(name, " is gone: ", gone->instead);
  const auto distance = [&](const Field& field) {
    const std::string last = field.name.substr(field.name.rfind('.') + 1);  // of train.lr: lr
    return field.is_argument ? SIZE_MAX : std::min(edit_distance(field.name, name), edit_distance(last, name));
  };
  const Field& nearest = *std::ranges::min_element(fields_, {}, distance);
  const bool is_close = distance(nearest) < 3;  // a word with three wrong letters is another word
  return text("there is no setting --", name, is_close ? "; did you mean --" + nearest.name + "?" : "");
}

// Applies the words of the command line. False: --help.
bool Settings::read(const std::vector<std::string>& words) {
  CLI::App app(description_, program_);
  app.get_formatter()->column_width(36);
  app.add_option("--config", config_, "a JSON file of settings, such as a run's config.json")
      ->type_name("FILE")
      ->option_text("FILE");
  for (const Field& field : fields_) {
    const std::string flag = (field.is_argument ? "" : "--") + field.name;
    const auto set = [&field](const std::string& given) { assign(field, given); };
    CLI::Option* option = field.words ? app.add_option(flag, *field.words, field.help)
                                      : app.add_option_function<std::string>(flag, set, field.help)->take_last();
    option->required(field.is_argument)->type_name(usage_of(field))->option_text(usage_of(field));
    if (field.type == "true|false") option->expected(0, 1)->default_str("true");  // --recompute: --recompute true
    const size_t dot = field.name.find('.');
    if (dot != std::string::npos) option->group(field.name.substr(0, dot));
  }
  try {
    app.parse(std::vector(words.rbegin(), words.rend()));  // CLI11 takes the last word first
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    for (const std::string& word : words) {
      const std::string flag = word.substr(0, word.find('='));
      if (flag.starts_with("--") && !app.get_option_no_throw(flag)) throw UsageError(unknown(flag.substr(2)));
    }
    throw UsageError(e.what());
  }
  given_.clear();
  for (const Field& field : fields_)
    if (!field.is_argument && app.count("--" + field.name) > 0) given_.push_back(field.name);
  return true;
}

bool Settings::parse(int argc, char** argv) {
  for (Field& field : fields_) field.initially = printed(field);
  std::vector<std::string> words;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--set" && i + 1 < argc) word = text("--set=", argv[++i]);
    if (word == "--set" || word.starts_with("--set=")) {
      if (std::ranges::count(word, '=') < 2)
        throw UsageError(text("--set ", word.substr(std::min<size_t>(word.size(), 6)),
                              ": must be name=value of a setting, such as --set train.lr=3e-4"));
      word = "--" + word.substr(6);
    }
    // CLI11 takes an empty value, --name=, only as a word of its own.
    const bool is_empty = word.starts_with("--") && word.find('=') == word.size() - 1;
    words.push_back(is_empty ? word.substr(0, word.size() - 1) : word);
    if (is_empty) words.push_back("");
  }
  if (!read(words)) return false;
  const std::string file = config_.empty() ? "{}" : read_file(config_, 1 << 20);
  const auto apply = [&] {
    read_json(file, config_);
    read(words);
  };
  apply();
  if (change_defaults_) {
    change_defaults_();
    apply();
  }
  if (complete_) complete_();
  return true;
}

void Settings::read_json(const std::string& json_text, const std::string& source) {
  Json settings;
  try {
    settings = parse_json(json_text);
  } catch (const JsonError& e) {
    fail(source, ": is not valid JSON: ", e.what());
  }
  if (!settings.get<Json::Object>()) fail(source, ": must hold a JSON object, as a run's config.json does");
  // Each value of {"train": {"lr": 1e-3}}, and its name, train.lr. Groups without settings are not entered.
  const auto read_group = [&](const auto& self, const Json& group, const std::string& prefix) -> void {
    for (const auto& member : *group.get<Json::Object>()) {
      const Json& entry = member.second;
      const std::string name = prefix + member.first;
      const auto* words = entry.get<std::string>();
      const auto is_within = [&](const Field& field) { return field.name.starts_with(name + "."); };
      if (entry.get<Json::Object>() && std::ranges::any_of(fields_, is_within)) {
        self(self, entry, name + ".");
        continue;
      }
      const auto is_off = [&](const Retired& gone) { return gone.name == name && words && *words == gone.off; };
      if (std::ranges::any_of(retired_, is_off)) continue;
      const auto field = std::ranges::find(fields_, name, &Field::name);
      if (field == fields_.end() || field->is_argument) throw UsageError(unknown(name));
      const bool is_one = !entry.get<Json::List>() && !entry.get<Json::Object>() && !entry.get<std::nullptr_t>();
      if (!is_one) throw UsageError(text("--", name, ": must be ", usage_of(*field), ", not ", shown(to_text(entry))));
      assign(*field, words ? *words : to_text(entry));
    }
  };
  try {
    read_group(read_group, settings, "");
  } catch (const UsageError& e) {
    throw UsageError(source + ": " + e.what());
  }
}

void Settings::set(const std::string& json_text, const std::string& source) {
  read_json(json_text, source);
  if (complete_) complete_();
}

void Settings::print() const {
  for (const Field& field : fields_)
    if (printed(field) != field.initially) std::printf("  %-22s %s\n", field.name.c_str(), printed(field).c_str());
}

std::string Settings::to_json() const {
  Json all = Json::Object();
  for (const Field& field : fields_) {
    if (field.is_argument) continue;
    std::visit([&](const auto& value) { all.path(field.name) = value; }, field.get());
  }
  return to_text(all, 2) + "\n";
}

}  // namespace acinus
