// A training run: what it trains, where it is, and the folder that it leaves. It is saved so that --resume goes on from it
// bit for bit: the network, the optimiser, the averages and RunState are all that changes; batches, their augmentation and
// the learning rate are functions of the seed and the step.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/checks/checks.h"
#include "apps/common/config.h"
#include "apps/report/events.h"
#include "apps/report/report.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tensor/io/safetensors.h"

namespace acinus {

class Run;

// What to minimise: a scalar, from a batch x and its targets t.
using Loss = std::function<Tensor(const Tensor& x, const Tensor& t)>;

// What differs between training a U-Net (segmenter.cpp) and a classifier (classifier.cpp). The loop is in loop.cpp.
struct Task {
  Module& net;
  std::map<std::string, std::string> metadata;  // stored with the network, so that it can be loaded and used
  Score score;                                  // what epochs are compared by
  Findings findings;                            // about the data
  Loss loss;
  // Evaluates the network on the held-out patients: fills in row's val_... and may leave pictures in the run's folder.
  // False if a signal interrupted it.
  std::function<bool(Run& run, EpochRow& row)> validate;
  std::function<void(Report& report)> add_to_report;
};

// The scans that --data names, or synthetic ones, and who is held out. Completes the configuration (input.window).
struct TrainingData {
  explicit TrainingData(Config& config);

  double start = seconds_now();
  std::string folder;
  Dataset scans;
  Split split;
};

struct RunState {
  int64_t epoch = 1, step = 0;               // the current epoch; steps over all epochs
  double loss_sum = 0, seconds = 0;          // of this epoch's steps; since the start of the run
  int64_t best_epoch = 0;                    // 0: none has been validated
  double epoch_seconds = 0, epoch_wait = 0;  // of this epoch's steps; for batches
  std::vector<EpochRow> rows;
};
std::string to_json(const RunState& state);
RunState run_state_from_json(const std::string& text, const std::string& source);

// last.safetensors, for --resume.
struct SavedRun {
  SafeTensors file;
  RunState state;
  Config config;
};
// Nothing unless --resume is given. Error where the run cannot go on with these data and settings. kind: of the network,
// "unet.config" or "resnet.config".
std::optional<SavedRun> read_saved_run(const Config& config, const TrainingData& data, const std::string& kind);

class Run {
 public:
  // Makes the run's folder, or goes on in that of the saved run. The network is on its device already. All arguments but
  // `saved` must live as long as the run.
  Run(Config& config, const Settings& settings, const std::string& command, const TrainingData& data, const Task& task,
      int64_t steps_per_epoch, const std::optional<SavedRun>& saved);

  // Prints what it trains (layers: a table) and on what (more: ends the line about the data).
  void describe(const std::string& layers, const std::string& more) const;
  bool is_over() const;          // all epochs are done, or it has not improved for --train.patience validations
  std::string why_stop() const;  // a signal or a limit after which it is to stop; "": it may go on
  int64_t images_per_step() const { return config.train.batch * config.train.accumulate; }
  double lap();  // seconds since the last call, or the start; adds them to state.seconds

  void save();
  void save_now_and_then();                 // every --limits.save_minutes
  bool is_best(const EpochRow& row) const;  // better than all epochs before it
  void save_if_best(const EpochRow& row);
  void end_epoch(const EpochRow& row);  // saves, logs, and goes on to the next epoch
  int stop();                           // saves, and says how to go on; returns the program's exit code
  // Prints the results and the command that uses them: ./predict, with `networks` among its arguments.
  void finish(const std::string& verdict, const std::string& files, const std::string& networks);
  std::string best_path() const { return config.out + "/best.safetensors"; }

  const Config& config;
  const int64_t steps_per_epoch;
  const Device device;
  Schedule schedule;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Ema> ema;  // null for --train.ema 0
  RunState state;
  std::unique_ptr<EventFile> events;
  Findings remarks;  // printed after the line of the current epoch

 private:
  void report(const std::string& status) const;
  int64_t all_steps() const { return config.train.epochs * steps_per_epoch; }
  std::string last_path() const { return config.out + "/last.safetensors"; }

  const std::string command_, program_;          // as it was called: "./train --seed 2", "./train"
  std::string settings_;                         // as JSON
  std::map<std::string, std::string> metadata_;  // of both networks, best and last
  const TrainingData& data_;
  const Task& task_;
  const NamedTexts statistics_;  // of the data
  double last_lap_, last_save_ = seconds_now();
  bool report_is_named_ = false;  // on the console
};

}  // namespace acinus
