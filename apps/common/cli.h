// What all programs share: settings from a file and the command line, the progress line, and the one place where
// errors are caught.
//
//   int main(int argc, char** argv) {
//     return run_program(argv, [&] {
//       double lr = 1e-3;
//       Settings settings("train", "Trains a U-Net.");
//       settings.add("train.lr", lr, "learning rate").between(0, 10);
//       if (!settings.parse(argc, argv)) return;      // --help was asked for
//       ...
//     });
//   }
#pragma once
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/tensor.h"
#include "tensor/text.h"

namespace acinus {

// Calls body; returns the exit code: 0, 1 if it threw (the error is printed as one line on stderr), 2 if the command
// line was wrong. With ACINUS_PROFILE=1 in the environment, where the time of this thread went is printed on stderr at
// the end, however that comes (tensor/profile.h).
int run_program(char** argv, const std::function<void()>& body);

// Throw this for a command line that makes no sense.
struct UsageError {
  std::string message;
};

// Throw this to end the program with an exit code, without a word more.
struct Quit {
  int code;
};

// From now on Ctrl-C and SIGTERM are only noted, so that work can be saved; a second one ends the program as ever.
void note_signals();
int noted_signal();      // SIGINT, SIGTERM, or 0
void quit_if_stopped();  // Quit{128 + signal}, as shells count, if one was noted

// The settings of a program, with names like train.lr. Each can be given as --train.lr 1e-3, or in a JSON file named
// by --config as {"train": {"lr": 1e-3}}; the command line wins over the file, the file over the defaults. --set
// train.lr=1e-3 is the same as --train.lr 1e-3.
class Settings {
 public:
  using Value = std::variant<int64_t*, double*, std::string*, bool*, std::vector<std::string>*>;
  using Named = std::vector<std::pair<std::string, std::string>>;  // names and values as text
  struct Field {
    std::string name;
    Value value;
    std::string help;
    bool is_argument = false;
    double low = -INFINITY, high = INFINITY;
    std::vector<std::string> choices = {};
    std::string initially = {};  // before parse()

    Field& between(double least, double most) { return low = least, high = most, *this; }
    Field& one_of(std::vector<std::string> names) { return choices = std::move(names), *this; }
  };
  Settings(std::string program, std::string description);
  // A setting; its value so far is the default:   s.add("train.batch", batch, "pieces a step").between(1, 4096);
  template <class T>
  Field& add(const std::string& name, T& value, const std::string& help) {
    return fields_.emplace_back(Field{name, &value, help});
  }
  // A value without a name: predict SCAN.
  void add_argument(const std::string& name, std::string& value, const std::string& help);
  void add_arguments(const std::string& name, std::vector<std::string>& values,
                     const std::string& help);  // one or more
  // A setting that is gone. A configuration in which it has the value `off` is still read; anything else is an error
  // that says what there is `instead`.
  void retire(const std::string& name, const std::string& off, const std::string& instead) {
    retired_.push_back({name, off, instead});
  }
  // Called once --config and the command line are known, before they are applied for good: may change defaults
  // according to the values (presets).
  void on_defaults(std::function<void()> change) { change_defaults_ = std::move(change); }
  // False if --help was asked for, which it has printed. Throws UsageError.
  bool parse(int argc, char** argv);
  // Sets what a text such as to_json() gives names, as if it were the defaults. Where it comes from stands in messages.
  void set(const std::string& json, const std::string& source);
  const std::vector<std::string>& given() const { return given_; }  // the names on the command line
  void print() const;           // a table of those that are not as they were before parse()
  std::string to_json() const;  // what --config reads

 private:
  Field* find(const std::string& name);
  std::string unknown_flag(const std::vector<std::string>& words);
  void set(const Named& values, const std::string& source);

  std::string program_, description_;
  std::vector<Field> fields_;
  struct Retired {
    std::string name, off, instead;
  };
  std::vector<Retired> retired_;
  std::vector<std::string> given_;
  std::function<void()> change_defaults_;
};

// A line that moves: "epoch 3/12  [#####.....]  60/100  ETA 0:12  loss -0.41  38 images/s". On a terminal it is
// rewritten in place, a few times a second, and cut where the terminal ends; elsewhere nothing is printed.
class Progress {
 public:
  Progress(std::string label, int64_t total);
  ~Progress();  // removes the line
  void update(int64_t done, const std::string& note = "");
  void update(int64_t done, int64_t total, const std::string& note = "");  // where the total is known only later

 private:
  std::string label_;
  int64_t total_;
  std::chrono::steady_clock::time_point start_, last_;
  bool shown_ = false;
};

bool is_terminal();                   // is stdout one?
std::string minutes(double seconds);  // 75 -> "1:15"
double seconds_now();                 // of a clock that only goes forward

int use_threads(int64_t threads);  // 0: all cores; returns how many

// Where and in what a network is run: --device, --precision and --threads.
struct Machine {
  std::string device = "auto", precision = "fp32";
  int64_t threads = 0;

  void add_settings(Settings& settings);
  // What was asked for, or a UsageError; `auto` is the GPU if there is one.
  Device use() const;
  DType activations() const { return precision == "bf16" ? DType::bf16 : DType::f32; }
  std::string description() const;  // "GPU in bf16: NVIDIA H100 80GB HBM3 (cuda:0), ...", or why it is the CPU

 private:
  bool on_gpu() const;
};

// `name` if there is nothing of that name, or an empty folder; else name-2, name-3, ...
std::string fresh_folder(const std::string& name);

}  // namespace acinus
