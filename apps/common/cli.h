// What all programs share: the one place where errors are caught, Ctrl-C, and the progress line.
//
//   int main(int argc, char** argv) {
//     return run_program(argv, [&] {
//       Settings settings("train", "Trains a U-Net.");  // and so on, see apps/common/settings.h
//       return 0;
//     });
//   }
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "apps/common/settings.h"

namespace acinus {

// Calls body and returns the exit code: body's, or 1 if it threw (the error is printed as one line on stderr), or 2 if
// it threw a UsageError. With ACINUS_PROFILE=1 in the environment, a table of where this thread's time went is printed
// on stderr at the end (tensor/profile.h).
// The program first restarts itself with OMP_WAIT_POLICY=passive and GOMP_SPINCOUNT=5000, unless one of them is set. In a
// debugger set it yourself:
//   OMP_WAIT_POLICY=passive gdb --args ./train --train.epochs 1
int run_program(char** argv, const std::function<int()>& body);

// From now on, Ctrl-C and SIGTERM are only noted, so that work can be saved; a second Ctrl-C terminates immediately.
void note_signals();
int noted_signal();  // SIGINT, SIGTERM, or 0

// For work that has no way to return early, such as reading a data set: throws if a signal was noted. run_program then
// returns 128 + signal, as shells do.
struct Interrupted {
  int signal;
};
void throw_if_interrupted();

bool is_terminal();                   // is stdout a terminal?
std::string minutes(double seconds);  // 75 -> "1:15"
double seconds_now();                 // of a monotonic clock

// A line that is rewritten in place, a few times a second, and cut at the terminal's width:
// "epoch 3/12  [#####.....]  60/100  ETA 0:12  loss -0.41  38 images/s". If stdout is not a terminal, nothing is printed.
class Progress {
 public:
  Progress(std::string label, int64_t total) : label_(std::move(label)), total_(total) {}
  ~Progress();  // removes the line
  void update(int64_t done, const std::string& note = "") { update(done, total_, note); }
  void update(int64_t done, int64_t total, const std::string& note = "");  // where the total becomes known only now

 private:
  std::string label_;
  int64_t total_;
  double start_ = seconds_now(), last_ = start_;
  bool shown_ = false;
};

// Does something of that name exist that is not an empty folder?
bool is_taken(const std::string& path);
// `name` if it is not taken, otherwise name-2, name-3, ...
std::string fresh_folder(const std::string& name);

}  // namespace acinus
