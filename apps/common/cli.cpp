#include "apps/common/cli.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "tensor/conv/conv.h"
#include "tensor/cuda/device.h"
#include "tensor/io/file.h"
#include "tensor/profile.h"
#include "tensor/text.h"

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
        else if constexpr (std::is_same_v<T, std::vector<std::string>>)
          return v->empty() ? "" : text(v->front(), v->size() > 1 ? " ..." : "");
        else if constexpr (std::is_same_v<T, double>)
          return shortest(*v);
        else
          return std::to_string(*v);
      },
      value);
}

// What --help says a setting takes: "nearest|bilinear", "INT".
std::string type_of(const Settings::Field& field) {
  constexpr const char* names[] = {"INT", "NUMBER", "TEXT", "true|false", "TEXT ..."};
  std::string choices;
  for (const std::string& choice : field.choices) choices += (choices.empty() ? "" : "|") + choice;
  return choices.empty() ? names[field.value.index()] : choices;
}

// --recompute is short for --recompute true.
bool is_switch(const Settings::Field& field) { return std::holds_alternative<bool*>(field.value); }

// Several words, which CLI11 hands over as one text with a line each.
bool is_list(const Settings::Field& field) { return std::holds_alternative<std::vector<std::string>*>(field.value); }

// Throws UsageError unless the text given is a value that the setting may have.
void set_from_text(const Settings::Field& field, const std::string& given) {
  const auto refuse = [&](const auto&... what) {
    throw UsageError{text("--", field.name, " ", what..., ", not ", '"', given, '"')};
  };
  std::visit(
      [&](auto* v) {
        using T = std::decay_t<decltype(*v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          if (!field.choices.empty() && std::ranges::count(field.choices, given) == 0)
            refuse("is one of ", type_of(field));
          *v = given;
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          v->clear();
          for (std::string_view rest = given; !rest.empty();) v->emplace_back(next_line(rest));
        } else if constexpr (std::is_same_v<T, bool>) {
          if (given != "true" && given != "false") refuse("is true or false");
          *v = given == "true";
        } else {
          T parsed;
          if (!parse(given, parsed) || !std::isfinite(double(parsed)))
            refuse("needs ", std::is_same_v<T, double> ? "a number" : "a whole number");
          if (double(parsed) < field.low || double(parsed) > field.high)
            refuse("must be ", std::isinf(field.high) ? "at least " : "between ", T(field.low),
                   std::isinf(field.high) ? "" : text(" and ", T(field.high)));
          *v = parsed;
        }
      },
      field.value);
}

// How many letters must be changed, added or left out to make one word of the other (Levenshtein 1966).
size_t edits(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); j++)
      diagonal = std::exchange(row[j], std::min({row[j - 1] + 1, row[j] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

// {"train": {"lr": 0.1}} -> train.lr: "0.1"
void flatten(const json& j, const std::string& prefix, Settings::Named& out) {
  for (const auto& [key, value] : j.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object())
      flatten(value, name, out);
    else
      out.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

Settings::Named named_values(const std::string& text, const std::string& source) {
  Settings::Named values;
  try {
    const json settings = json::parse(text);
    if (!settings.is_object()) fail(source, ": must hold a JSON object, as a run's config.json does");
    flatten(settings, "", values);
  } catch (const json::exception& e) {
    const std::string_view what = e.what();  // "[json.exception...] parse error at line 1, column 23: ..."
    fail(source, ": is not valid JSON: ", what.substr(what.find(']') + 2));
  }
  return values;
}

}  // namespace

// A thread of OpenMP that waits for the others does so in a busy loop, for some milliseconds. With another program on
// the cores, one of the others may be the one that this loop keeps off: a training step then took ten times as long.
// The OpenMP library reads how to wait once, before main; so say it and start again.
static void wait_without_a_loop([[maybe_unused]] char** argv) {
#ifdef _OPENMP
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // returns only where that is not there; then it is as it was
#endif
}

static int run(char** argv, const std::function<void()>& body) {
  const std::string called = argv[0], name = std::filesystem::path(called).filename().string();
  try {
    body();
    return 0;
  } catch (const Quit& quit) {
    return quit.code;
  } catch (const UsageError& e) {
    std::fprintf(stderr, "%s: %s; try %s --help\n", name.c_str(), e.message.c_str(), called.c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n", name.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
  }
  return 1;
}

int run_program(char** argv, const std::function<void()>& body) {
  wait_without_a_loop(argv);
  const std::string wanted = std::getenv("ACINUS_PROFILE") ? std::getenv("ACINUS_PROFILE") : "";
  if (wanted.empty() || wanted == "0") return run(argv, body);
  cuda::synchronize_each(true);  // or the GPU would still be at an op when the next ones are asked for
  Profile profile;
  const int code = run(argv, body);
  std::fflush(stdout);  // the program's last lines first, where both go to one file
  std::fprintf(stderr, "\n%s", profile_table(profile.rows()).c_str());
  return code;
}

static volatile sig_atomic_t noted = 0;

void note_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { noted = signal; };
  action.sa_flags = int(SA_RESETHAND | SA_RESTART);  // the second time it is as ever; what waits for a disk goes on
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int noted_signal() { return noted; }

void quit_if_stopped() {
  if (!noted) return;
  std::fprintf(stderr, "stopped\n");
  throw Quit{128 + noted};
}

Settings::Settings(std::string program, std::string description)
    : program_(std::move(program)), description_(std::move(description)) {}

void Settings::add_argument(const std::string& name, std::string& value, const std::string& help) {
  add(name, value, help).is_argument = true;
}

void Settings::add_arguments(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  add(name, values, help).is_argument = true;
}

Settings::Field* Settings::find(const std::string& name) {
  for (Field& field : fields_)
    if (field.name == name) return &field;
  return nullptr;
}

// The first flag that is no setting, with the one that may have been meant; "" if all are.
std::string Settings::unknown_flag(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    const std::string flag = word.substr(0, word.find('='));
    if (!flag.starts_with("--") || flag == "--config" || flag == "--help" || find(flag.substr(2))) continue;
    for (const Retired& gone : retired_)
      if (flag == "--" + gone.name) return text(flag, " is gone: ", gone.instead);
    const Field* nearest = nullptr;
    size_t least = 3;  // more than two letters wrong is another word
    for (const Field& field : fields_) {
      const std::string last = field.name.substr(field.name.rfind('.') + 1);  // of train.lr: lr
      const size_t distance = std::min(edits(field.name, flag.substr(2)), edits(last, flag.substr(2)));
      if (!field.is_argument && distance < least) least = distance, nearest = &field;
    }
    return text("there is no setting ", flag, nearest ? "; --" + nearest->name + " perhaps" : "");
  }
  return "";
}

bool Settings::parse(int argc, char** argv) {
  CLI::App app(description_, program_);
  app.get_formatter()->column_width(32);
  std::string config;
  for (Field& field : fields_) field.initially = printed(field.value);
  std::vector<std::string> given(fields_.size());  // the command line's texts, one a field
  app.add_option("--config", config, "a JSON file of settings, such as a run's config.json")->type_name("FILE");
  for (size_t i = 0; i < fields_.size(); i++) {
    const Field& field = fields_[i];
    const std::string value = printed(field.value);
    auto* option = app.add_option((field.is_argument ? "" : "--") + field.name, given[i], field.help);
    if (field.is_argument)
      option->required()->type_name("");
    else
      option->type_name(type_of(field) + (value.empty() ? "" : " [" + value + "]"));
    if (is_switch(field)) option->expected(0, 1);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // the last one counts, as in most programs
    if (is_list(field)) option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args()->join('\n');
  }
  std::vector<std::string> words;  // --set NAME=VALUE as --NAME VALUE
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    const bool joined = word.starts_with("--set=");
    if (word != "--set" && !joined) {
      words.push_back(word);
      continue;
    }
    const std::string assignment = joined ? word.substr(6) : i + 1 < argc ? argv[++i] : "";
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos)
      throw UsageError{text("--set ", assignment, ": must be name=value of a setting, such as --set train.lr=3e-4")};
    words.push_back("--" + assignment.substr(0, equals));
    words.push_back(assignment.substr(equals + 1));
  }
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 takes the last word first
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return false;
  } catch (const CLI::ParseError& e) {
    const std::string unknown = unknown_flag(words);
    throw UsageError{unknown.empty() ? e.what() : unknown};
  }

  const Named from_file = config.empty() ? Named{} : named_values(read_file(config, 1 << 20), config);
  const auto assigned = [&](const Field& field) {  // --recompute= with nothing behind it is not --recompute
    return std::any_of(argv, argv + argc, [&](const char* word) { return word == "--" + field.name + "="; });
  };
  const auto apply = [&] {
    set(from_file, config);
    for (size_t i = 0; i < fields_.size(); i++)
      if (app.count((fields_[i].is_argument ? "" : "--") + fields_[i].name) > 0)
        set_from_text(fields_[i],
                      is_switch(fields_[i]) && given[i].empty() && !assigned(fields_[i]) ? "true" : given[i]);
  };
  for (const Field& field : fields_)
    if (!field.is_argument && app.count("--" + field.name) > 0) given_.push_back(field.name);
  apply();
  if (change_defaults_) {
    change_defaults_();
    apply();
  }
  return true;
}

void Settings::set(const Named& values, const std::string& source) {
  for (const auto& [name, value] : values) {
    const auto gone = std::ranges::find(retired_, name, &Retired::name);
    if (gone != retired_.end()) {
      if (value != gone->off) throw UsageError{text(source, ": ", name, " is gone: ", gone->instead)};
      continue;
    }
    const Field* field = find(name);
    if (!field || field->is_argument) throw UsageError{text(source, ": unknown setting \"", name, "\"")};
    try {
      set_from_text(*field, value);
    } catch (const UsageError& error) {
      throw UsageError{source + ": " + error.message};
    }
  }
}

void Settings::set(const std::string& json_text, const std::string& source) {
  set(named_values(json_text, source), source);
}

void Settings::print() const {
  for (const Field& field : fields_)
    if (printed(field.value) != field.initially)
      std::printf("  %-22s %s\n", field.name.c_str(), printed(field.value).c_str());
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

int use_threads([[maybe_unused]] int64_t threads) {
#ifdef _OPENMP
  if (threads > 0) omp_set_num_threads(int(threads));
  return omp_get_max_threads();
#else
  return 1;
#endif
}

void Machine::add_settings(Settings& s) {
  s.add("device", device, "cpu, cuda, cuda:1 (the second GPU), or auto: a GPU if there is one");
  s.add("precision", precision, "on a GPU: what is multiplied; bf16 also halves the memory for activations")
      .one_of({"fp32", "tf32", "bf16"});
  s.add("threads", threads, "0: all cores").between(0, 1024);
}

bool Machine::on_gpu() const { return device == "auto" ? cuda::available() && !cuda::emulated() : device != "cpu"; }

Device Machine::use() const {
  use_threads(threads);
  int64_t index = 0;
  const bool numbered = device.starts_with("cuda:");
  if (numbered && (!parse(device.substr(5), index) || index < 0 || index > 1023))
    throw UsageError{"--device " + device + ": the GPUs are cuda:0, cuda:1, ..."};
  if (!numbered && device != "auto" && device != "cpu" && device != "cuda")
    throw UsageError{"--device " + device + ": it must be auto, cpu, cuda, or cuda:1"};
  const bool gpu = on_gpu();
  if (gpu) cuda::use(int(index));
  if (precision != "fp32" && !gpu)
    throw UsageError{"--precision " + precision + " is for a GPU, and none is used: " + description() +
                     "; leave it out"};
  if (precision != "fp32" && !cuda::has_tensor_cores())
    throw UsageError{"--precision " + precision + " needs a GPU of compute capability 8.0 (2020) or later; this is " +
                     cuda::description()};
  allow_tf32(precision == "tf32");
  return gpu ? Device::cuda : Device::cpu;
}

std::string Machine::description() const {
  const bool gpu = on_gpu();
  if (gpu) return text("GPU in ", precision, ": ", cuda::description());
  const int n = use_threads(threads);
  return text("CPU, ", counted(n, "thread"),
              device == "cpu"
                  ? ""
                  : "; no GPU: " + (cuda::emulated() ? "one is only emulated (--device cuda)" : cuda::description()));
}

std::string fresh_folder(const std::string& name) {
  namespace fs = std::filesystem;
  const auto is_taken = [](const std::string& folder) {
    return fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder));
  };
  std::string folder = name;
  for (int i = 2; is_taken(folder); i++) folder = name + "-" + std::to_string(i);
  return folder;
}

// ---- Progress -------------------------------------------------------------------------------------------------

static size_t terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

Progress::Progress(std::string label, int64_t total)
    : label_(std::move(label)), total_(total), start_(std::chrono::steady_clock::now()), last_(start_) {}

Progress::~Progress() {
  if (shown_) std::printf("\r\033[K"), std::fflush(stdout);
}

void Progress::update(int64_t done, const std::string& note) { update(done, total_, note); }

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  total_ = std::max<int64_t>(total, 1);
  done = std::clamp<int64_t>(done, 0, total_);
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal() || (shown_ && done < total_ && now - last_ < std::chrono::milliseconds(150))) return;
  last_ = now;
  shown_ = true;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const int width = 20, filled = int(width * done / total_);
  std::string line = label_ + "  [" + std::string(size_t(filled), '#') + std::string(size_t(width - filled), '.') +
                     "]  " + std::to_string(done) + "/" + std::to_string(total_);
  if (done > 0) line += "  ETA " + minutes(elapsed / double(done) * double(total_ - done));
  if (!note.empty()) line += "  " + note;
  // A line that the terminal breaks in two could not be taken back.
  line.resize(std::min(line.size(), terminal_columns() - 1));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

}  // namespace acinus
