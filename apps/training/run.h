// A training run, whatever it trains: reads the data, goes through the epochs, and leaves a folder; stopped or killed
// at any moment, --resume goes on as if nothing had been. What differs between the U-Net (train_segmenter.cpp) and the
// classifier (train_classifier.cpp) are the functions that these override.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/config.h"
#include "apps/report/events.h"
#include "apps/checks/checks.h"
#include "apps/report/report.h"
#include "apps/training/training.h"
#include "data/sampling/loader.h"

namespace acinus {

class Run {
 public:
  virtual ~Run() = default;
  void go();

 protected:
  // Reads the data and splits the patients. `score` is what epochs are compared by.
  Run(Config& config, Settings& settings, const std::string& command, Score score);
  // To be called by the constructors below, once there is a network: takes over the state to be resumed, if any, and
  // makes the run's folder. `steps` are those of an epoch.
  void begin(std::unique_ptr<Module> net, Training::Loss loss, int64_t steps);

  // ---- what the two do in their own way

  virtual std::string default_folder() const = 0;
  // What is saved with the network for whoever loads it; kind() is the entry by which the two are told apart.
  virtual std::map<std::string, std::string> metadata() const = 0;
  virtual std::string kind() const = 0;
  // Refuses settings, other than `before`, with which the run would not be the same one any more.
  virtual void check_resumed(const Config& before) const = 0;
  virtual std::string layers() const = 0;                     // of the network, as a table
  virtual Loader::Draw draw() const = 0;                      // batches
  virtual std::string data_lines() const = 0;                 // what it learns from, for the console
  virtual void validate(EpochRow& row) = 0;                   // fills in the row's val_...; of the network as it is
  virtual std::string scores(const EpochRow& row) const = 0;  // "val dice 0.7512"
  virtual void leave(const EpochRow&) {}                      // pictures and the like, after an epoch with validation
  virtual void add_to(Report& report) const = 0;
  virtual void judge_best() = 0;            // best.safetensors, at the end
  virtual std::string verdict() const = 0;  // of it, for the console
  virtual std::string next_command() const = 0;
  virtual std::string files() const = 0;  // what it leaves besides what every run leaves

  // ---- what they share

  std::string why_stop() const { return acinus::why_stop(c_, start_, at_.step); }
  void save();
  [[noreturn]] void stop(const std::string& why);
  std::string program(const std::string& name) const;  // ./predict, of a run of ./train

  Config& c_;
  Settings& all_settings_;
  std::string command_, settings_;  // how it was called; all settings as JSON
  double start_ = seconds_now();
  Device device_;
  std::string folder_;  // of the data
  Dataset data_;
  Split split_;
  Score score_;
  int64_t steps_ = 0;  // an epoch
  Progression at_;
  Findings findings_, early_;  // about the data; about the epoch that is to be shown next
  std::unique_ptr<EventFile> events_;

 private:
  void describe() const;
  void one_step(Loader& loader);
  bool one_epoch(Loader& loader);  // false: it was stopped on the way
  void end_epoch();
  void save_best(const EpochRow& row) const;
  bool is_over() const;  // all epochs are done, or it has long got no better
  void report(const std::string& state) const;
  void finish();
  double seconds() const { return at_.seconds + seconds_now() - start_; }
  double epoch_seconds() const { return at_.epoch_seconds + (epoch_start_ > 0 ? seconds_now() - epoch_start_ : 0); }

  std::unique_ptr<Module> module_;  // before training_, which refers to it
  std::unique_ptr<Training> training_;
  std::unique_ptr<FolderLock> lock_;
  Schedule schedule_;
  std::vector<std::pair<std::string, std::string>> fingerprint_;
  double epoch_start_ = 0, waited_ = 0, last_save_ = seconds_now();  // epoch_start_: 0 before the first
};

}  // namespace acinus
