// What all programs share: settings from a file and the command line, the progress line, and the one place where
// errors are caught.
//
//   int main(int argc, char** argv) {
//     return run_program("train", [&] {
//       double lr = 1e-3;
//       Settings settings("train", "Trains a U-Net.");
//       settings.add("train.lr", lr, "learning rate");
//       if (!settings.parse(argc, argv)) return;      // --help was asked for
//       ...
//     });
//   }
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace acinus {

// Calls body; returns the exit code: 0, 1 if it threw (the error is printed as one line on stderr), 2 if the command
// line was wrong.
int run_program(const std::string& program, const std::function<void()>& body);

// Throw this for a command line that makes no sense.
struct UsageError {
  std::string message;
};

// The settings of a program, with names like train.lr. Each can be given as --train.lr 1e-3, or in a JSON file named
// by --config as {"train": {"lr": 1e-3}}; the command line wins over the file, the file over the defaults.
class Settings {
 public:
  using Value = std::variant<int64_t*, double*, std::string*, bool*>;
  Settings(std::string program, std::string description);
  // A setting; its value so far is the default. `check` may throw on a value that makes no sense.
  template <class T>
  void add(const std::string& name, T& value, const std::string& help) {
    fields_.push_back({name, &value, help, false});
  }
  // A value without a name: predict SCAN.
  void add_argument(const std::string& name, std::string& value, const std::string& help);
  // Called once --config and the command line are known, before they are applied for good: may change defaults
  // according to the values (presets).
  void on_defaults(std::function<void()> change) { change_defaults_ = std::move(change); }
  // False if --help was asked for, which it has printed. Throws UsageError.
  bool parse(int argc, char** argv);
  void print() const;           // the table of all settings
  std::string to_json() const;  // what --config reads

 private:
  struct Field {
    std::string name;
    Value value;
    std::string help;
    bool is_argument;
  };
  Field* find(const std::string& name);

  std::string program_, description_;
  std::vector<Field> fields_;
  std::function<void()> change_defaults_;
};

// A line that moves: "epoch  3/12  [#####.....]  60/100  loss -0.41  38 img/s  ETA 0:12". On a terminal it is
// rewritten in place, a few times a second; elsewhere nothing is printed.
class Progress {
 public:
  Progress(std::string label, int64_t total);
  ~Progress();  // removes the line
  void update(int64_t done, const std::string& note = "");

 private:
  std::string label_;
  int64_t total_;
  std::chrono::steady_clock::time_point start_, last_;
  bool shown_ = false;
};

bool is_terminal();                   // is stdout one?
std::string minutes(double seconds);  // 75 -> "1:15"
double seconds_now();                 // of a clock that only goes forward

// `name` if there is nothing of that name, else name-2, name-3, ...
std::string fresh_folder(const std::string& name);

}  // namespace acinus
