#include "apps/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tensor/check.h"
#include "tensor/file.h"

namespace acinus {
namespace {

using json = nlohmann::ordered_json;

std::string printed(const Settings::Value& value) {
  return std::visit(
      [](auto* v) -> std::string {
        using T = std::decay_t<decltype(*v)>;
        if constexpr (std::is_same_v<T, bool>)
          return *v ? "true" : "false";
        else if constexpr (std::is_same_v<T, std::string>)
          return *v;
        else if constexpr (std::is_same_v<T, double>)
          return shortest(*v);
        else
          return std::to_string(*v);
      },
      value);
}

const char* type_of(const Settings::Value& value) {
  constexpr const char* names[] = {"INT", "NUMBER", "TEXT", "true|false"};
  return names[value.index()];
}

void set_from_text(const std::string& name, const Settings::Value& value, const std::string& given) {
  std::visit(
      [&](auto* v) {
        using T = std::decay_t<decltype(*v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          *v = given;
        } else if constexpr (std::is_same_v<T, bool>) {
          if (given != "true" && given != "false")
            throw UsageError{text("--", name, " is true or false, not \"", given, "\"")};
          *v = given == "true";
        } else if (T parsed; parse(given, parsed) && std::isfinite(double(parsed))) {
          *v = parsed;
        } else {
          throw UsageError{text("--", name, " needs ", std::is_same_v<T, double> ? "a number" : "a whole number",
                                ", not \"", given, "\"")};
        }
      },
      value);
}

// {"train": {"lr": 0.1}} -> train.lr: "0.1"
void flatten(const json& j, const std::string& prefix, std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : j.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object())
      flatten(value, name, out);
    else
      out.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

}  // namespace

int run_program(const std::string& program, const std::function<void()>& body) {
  try {
    body();
    return 0;
  } catch (const UsageError& e) {
    std::fprintf(stderr, "%s: %s; try ./%s --help\n", program.c_str(), e.message.c_str(), program.c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n", program.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), e.what());
  }
  return 1;
}

Settings::Settings(std::string program, std::string description)
    : program_(std::move(program)), description_(std::move(description)) {}

void Settings::add_argument(const std::string& name, std::string& value, const std::string& help) {
  fields_.push_back({name, &value, help, true});
}

Settings::Field* Settings::find(const std::string& name) {
  for (Field& field : fields_)
    if (field.name == name) return &field;
  return nullptr;
}

bool Settings::parse(int argc, char** argv) {
  CLI::App app(description_, program_);
  app.get_formatter()->column_width(32);
  std::string config;
  std::vector<std::string> given(fields_.size());  // the command line's texts, one a field
  app.add_option("--config", config, "a JSON file of settings, such as a run's config.json")->type_name("FILE");
  for (size_t i = 0; i < fields_.size(); i++) {
    const Field& field = fields_[i];
    const std::string value = printed(field.value);
    auto* option = app.add_option((field.is_argument ? "" : "--") + field.name, given[i], field.help);
    if (field.is_argument)
      option->required()->type_name("");
    else
      option->type_name(std::string(type_of(field.value)) + (value.empty() ? "" : " [" + value + "]"));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    throw UsageError{e.what()};
  }

  std::vector<std::pair<std::string, std::string>> from_file;
  if (!config.empty()) {
    try {
      flatten(json::parse(read_file(config, 1 << 20)), "", from_file);
    } catch (const json::exception& e) {
      fail(config, ": is not valid JSON: ", e.what());
    }
  }
  const auto apply = [&] {
    for (const auto& [name, value] : from_file) {
      const Field* field = find(name);
      if (!field || field->is_argument) throw UsageError{text(config, ": unknown setting \"", name, "\"")};
      set_from_text(name, field->value, value);
    }
    for (size_t i = 0; i < fields_.size(); i++)
      if (app.count((fields_[i].is_argument ? "" : "--") + fields_[i].name) > 0)
        set_from_text(fields_[i].name, fields_[i].value, given[i]);
  };
  apply();
  if (change_defaults_) {
    change_defaults_();
    apply();
  }
  return true;
}

void Settings::print() const {
  for (const Field& field : fields_) std::printf("  %-22s %s\n", field.name.c_str(), printed(field.value).c_str());
}

std::string Settings::to_json() const {
  json all = json::object();
  for (const Field& field : fields_) {
    if (field.is_argument) continue;
    json* at = &all;
    size_t begin = 0;
    for (size_t dot; (dot = field.name.find('.', begin)) != std::string::npos; begin = dot + 1)
      at = &(*at)[field.name.substr(begin, dot - begin)];
    std::visit([&](auto* v) { (*at)[field.name.substr(begin)] = *v; }, field.value);
  }
  return all.dump(2) + "\n";
}

bool is_terminal() { return isatty(STDOUT_FILENO); }

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string minutes(double seconds) {
  char out[32];
  const auto whole = int64_t(seconds + 0.5);
  std::snprintf(out, sizeof out, "%lld:%02lld", static_cast<long long>(whole / 60), static_cast<long long>(whole % 60));
  return out;
}

std::string fresh_folder(const std::string& name) {
  std::string folder = name;
  for (int i = 2; std::filesystem::exists(folder); i++) folder = name + "-" + std::to_string(i);
  return folder;
}

// ---- Progress -------------------------------------------------------------------------------------------------

Progress::Progress(std::string label, int64_t total)
    : label_(std::move(label)), total_(total), start_(std::chrono::steady_clock::now()), last_(start_) {}

Progress::~Progress() {
  if (shown_) std::printf("\r\033[K"), std::fflush(stdout);
}

void Progress::update(int64_t done, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal() || (shown_ && done < total_ && now - last_ < std::chrono::milliseconds(150))) return;
  last_ = now;
  shown_ = true;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const int width = 20, filled = int(width * done / std::max<int64_t>(total_, 1));
  std::string line = label_ + "  [" + std::string(size_t(filled), '#') + std::string(size_t(width - filled), '.') +
                     "]  " + std::to_string(done) + "/" + std::to_string(total_);
  if (!note.empty()) line += "  " + note;
  if (done > 0) line += "  ETA " + minutes(elapsed / double(done) * double(total_ - done));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

}  // namespace acinus
