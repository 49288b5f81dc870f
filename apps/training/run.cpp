#include "apps/training/run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "data/dataset/statistics.h"
#include "nn/checkpoint.h"
#include "tensor/io/file.h"
#include "tensor/memory.h"
#include "tensor/text.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

int loader_threads(const Config& c, Device device) {
  if (c.train.loaders > 0) return int(c.train.loaders);
  const int cores = int(std::thread::hardware_concurrency());
  return std::clamp(device == Device::cpu ? cores / 8 : cores - 1, 1, 8);
}

long long whole(int64_t n) { return static_cast<long long>(n); }  // for printf

std::string first_word(const std::string& command) { return command.substr(0, command.find(' ')); }

}  // namespace

Run::Run(Config& config, Settings& settings, const std::string& command, Score score)
    : c_(config), all_settings_(settings), command_(command), device_(config.machine.use()), score_(score) {
  data_ = load_data(c_, folder_);
  split_ = split_patients(data_, c_.split);
  fingerprint_ = rows(fingerprint(data_));
}

void Run::begin(std::unique_ptr<Module> module, Training::Loss loss, int64_t steps) {
  module_ = std::move(module), steps_ = steps;
  Module& net = *module_;
  schedule_ = c_.schedule, schedule_.steps = c_.train.epochs * steps_;
  SafeTensors saved;
  if (!c_.resume.empty()) {
    const std::string path = c_.resume + "/last.safetensors";
    saved = read_safetensors(path);
    if (!saved.metadata.contains(kind()))
      fail(path, ": is the state of ", c_.task == "classify" ? "a U-Net's" : "a classifier's", " training; --task ",
           c_.task, " cannot go on with it");
    load_state_dict(net, saved, path);
    at_ = progression_from_json(saved.metadata.at("train.state"), path);
    const std::string trained_on = saved.metadata.contains("data") ? saved.metadata.at("data") : "";
    if (trained_on != identity(data_))
      fail(folder_, ": the data are not those that ", c_.resume, " was trained on (", identity(data_), " now, ",
           trained_on, " then); put them back, or start another run");
    Config before;
    Settings of_before("train", "");
    add_settings(of_before, before);
    of_before.set(saved.metadata.at("train.config"), path);
    if (split_patients(data_, before.split).validation != split_.validation)
      fail("--resume ", c_.resume, ": it would be judged on patients that it was trained on; leave --seed,",
           " --validation, --held_out, --fold and --folds as they were");
    check_resumed(before);
    if (at_.step < (at_.epoch - 1) * steps_ || at_.step > at_.epoch * steps_)
      fail("--resume ", c_.resume, ": step ", at_.step, " is not in epoch ", at_.epoch, ", of ", steps_,
           " steps each; leave --train.steps (where it is 0, --train.batch and --train.accumulate) as it was");
    const std::string best = c_.resume + "/best.safetensors";
    if (at_.best_epoch > 0 && !std::filesystem::exists(best))
      fail(best, ": the best network, of epoch ", at_.best_epoch,
           ", is not there any more; put it back, or start another run");
  }
  net.to(device_);
  training_ = std::make_unique<Training>(c_, net, std::move(loss), device_);
  if (!c_.resume.empty()) training_->load(saved);

  if (c_.out.empty()) c_.out = fresh_folder(default_folder());
  make_folder(c_.out);
  lock_ = std::make_unique<FolderLock>(c_.out);
  for (const std::string& folder : {c_.out, c_.out + "/overlays"})
    if (std::filesystem::exists(folder)) remove_leftovers(folder);
  const std::string resumed = std::exchange(c_.resume, "");  // --config of this run is not to resume it
  settings_ = all_settings_.to_json();
  c_.resume = resumed;
  write_file(c_.out + "/config.json", settings_);
  events_ = std::make_unique<EventFile>(c_.out);
  std::printf("settings: all in %s/config.json; other than by default\n", c_.out.c_str());
  all_settings_.print();
}

void Run::describe() const {
  std::printf("\nnetwork\n%s\ndata: %s\n%s", layers().c_str(), folder_.c_str(), data_lines().c_str());
  for (const Finding& finding : findings_) std::printf("%s", shown(finding).c_str());
  std::printf("  %lld steps an epoch, run folder %s\n%s\n\n", whole(steps_), c_.out.c_str(),
              c_.machine.description().c_str());
  if (!c_.resume.empty() && is_over())
    std::printf("the run is over, after %lld epochs; a larger --train.epochs goes on\n", whole(at_.epoch - 1));
  else if (!c_.resume.empty())
    std::printf("going on after step %lld, in epoch %lld\n", whole(at_.step), whole(at_.epoch));
  std::fflush(stdout);
}

void Run::save() {
  auto all = metadata();
  all["format"] = "pt";
  all["train.config"] = settings_;
  all["data"] = identity(data_);
  all["epoch"] = std::to_string(at_.epoch);
  Progression now = at_;
  now.seconds = seconds();
  now.epoch_seconds = epoch_seconds(), now.epoch_wait = waited_;
  all["train.state"] = to_json(now);
  NamedTensors tensors = state_dict(*module_);
  for (const auto& entry : training_->state()) tensors.push_back(entry);
  const std::string path = c_.out + "/last.safetensors";
  try {
    write_safetensors(path, tensors, all);
  } catch (const Error& error) {
    if (!std::filesystem::exists(path)) throw;
    fail(error.what(), "; what was saved before is still there: ", first_word(command_), " --resume ", c_.out,
         " goes on from it");
  }
  last_save_ = seconds_now();
}

void Run::save_best(const EpochRow& row) const {
  auto all = metadata();
  all["format"] = "pt";
  all["train.config"] = settings_;
  all["epoch"] = std::to_string(row.epoch);
  all[score_ == &EpochRow::val_auc ? "val_auc" : "val_dice"] = shortest(row.*score_);
  std::string held_out;  // for whoever trains on what this network finds
  for (size_t i : split_.validation) held_out += (held_out.empty() ? "" : ",") + data_.scans[i].id;
  all["held_out"] = held_out;
  write_safetensors(c_.out + "/best.safetensors", state_dict(*module_), all);
}

bool Run::is_over() const {
  const int64_t since_best = at_.epoch - 1 - at_.best_epoch;
  return at_.epoch > c_.train.epochs ||
         (c_.train.patience > 0 && since_best >= c_.train.patience * c_.train.validate_every);
}

void Run::stop(const std::string& why) {
  save();
  const std::string again = first_word(command_) + " --resume " + c_.out;
  report(text("stopped at step ", at_.step, " (", why, "); go on with ", again));
  std::printf("stopped at step %lld of %lld (%s); all of it is saved. Go on with\n  %s\n", whole(at_.step),
              whole(c_.train.epochs * steps_), why.c_str(), again.c_str());
  std::fflush(stdout);
  throw Quit{noted_signal() ? 128 + noted_signal() : 0};
}

void Run::one_step(Loader& loader) {
  Tensor x, t;
  for (int64_t part = 0; part < c_.train.accumulate; part++) {
    {
      const ProfileScope profile_scope("wait for a batch");
      loader.next(x, t);
    }
    training_->add(x, t);
  }
  const double norm = training_->gradient_norm(), loss = training_->loss();  // so the GPU is waited for once
  if (!std::isfinite(loss) || !std::isfinite(norm))
    fail("step ", at_.step + 1, ": the loss is ", loss, " and the gradient's norm ", norm,
         "; the first number that is not finite: ", training_->find_not_finite(),
         ". A lower --train.lr or --train.clip 1 may help. ",
         std::filesystem::exists(c_.out + "/last.safetensors")
             ? "The last good state is in " + c_.out + "/last.safetensors"
             : "Nothing was saved");
  training_->update(schedule_.at(at_.step));
  at_.step++;
  at_.loss_sum += loss;
}

bool Run::one_epoch(Loader& loader) {
  memory::reset_peak(device_);
  epoch_start_ = seconds_now();
  const double waited_before = loader.waited();
  waited_ = at_.epoch_wait;
  const int64_t first = (at_.epoch - 1) * steps_, begun = at_.step;
  Progress progress(text("epoch ", at_.epoch, "/", c_.train.epochs), steps_);
  while (at_.step < first + steps_) {
    if (!why_stop().empty()) return false;
    one_step(loader);
    waited_ = at_.epoch_wait + loader.waited() - waited_before;
    const double rate =
        double((at_.step - begun) * c_.train.batch * c_.train.accumulate) / (seconds_now() - epoch_start_);
    char note[96];
    std::snprintf(note, sizeof note, "loss %.4f  %.0f images/s", at_.loss_sum / double(at_.step - first), rate);
    progress.update(at_.step - first, note);
    if (seconds_now() - last_save_ > c_.limits.save_minutes * 60) save();
  }
  return why_stop().empty();
}

// After an epoch's steps: validates, and saves.
void Run::end_epoch() {
  EpochRow row;
  row.epoch = at_.epoch, row.step = at_.step;
  row.loss = at_.loss_sum / double(steps_);
  row.lr = schedule_.at(at_.step - 1);
  row.seconds = epoch_seconds();
  row.images_per_second = double(steps_ * c_.train.batch * c_.train.accumulate) / row.seconds;
  row.loader_wait = waited_ / row.seconds;
  const bool validated = row.epoch == c_.train.epochs || row.epoch % c_.train.validate_every == 0;
  bool is_best = false;
  if (validated) {
    const auto average = training_->averaged();
    validate(row);
    is_best = at_.best_epoch == 0 || is_better(row, at_.rows[size_t(at_.best_epoch - 1)], score_);
    if (is_best) at_.best_epoch = row.epoch, save_best(row);
  }
  row.peak_mb = double(memory::stats(device_).peak >> 20);
  at_.rows.push_back(row);
  at_.epoch++;
  at_.loss_sum = at_.epoch_seconds = at_.epoch_wait = waited_ = 0;
  epoch_start_ = seconds_now();
  save();

  for (const auto& [tag, value] : {std::pair<const char*, double>{"loss/train", row.loss},
                                   {"lr", row.lr},
                                   {"speed/images_per_second", row.images_per_second},
                                   {"speed/loader_wait", row.loader_wait},
                                   {"memory/peak_mb", row.peak_mb},
                                   {"loss/validation", row.val_loss},
                                   {"dice/validation", row.val_dice},
                                   {"auc/validation", row.val_auc}})
    if (!std::isnan(value)) events_->scalar(row.step, tag, value);
  if (validated) leave(row);
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows, score_));
  const double left = seconds() / double(row.epoch) * double(c_.train.epochs - row.epoch);
  report(text("running: epoch ", row.epoch, " of ", c_.train.epochs, ", about ", minutes(left), " left"));
  std::printf("epoch %3lld/%lld | loss %8.4f | %s %s | lr %.1e | %6.1f images/s | %s\n", whole(row.epoch),
              whole(c_.train.epochs), row.loss, scores(row).c_str(), is_best ? "*" : " ", row.lr, row.images_per_second,
              minutes(seconds()).c_str());
  for (const Finding& finding : std::exchange(early_, {})) std::printf("%s", shown(finding).c_str());
  std::fflush(stdout);
}

void Run::report(const std::string& state) const {
  Report r;
  r.title = "acinus: " + c_.out;
  r.command = command_;
  r.config_json = settings_;
  r.state = state;
  add_epochs(r, at_.rows, score_);
  r.facts = {{"machine", c_.machine.description()},
             {"network", text(module_->parameter_count(), " parameters")},
             {"steps", text(at_.step, " of ", c_.train.epochs * steps_)},
             {"time", minutes(seconds())}};
  r.fingerprint = fingerprint_;
  Findings findings = findings_;
  findings.append(check_rows(at_.rows, c_));
  for (const Finding& finding : findings)
    if (finding.level > Level::note) r.findings.push_back(one_line(finding));
  add_to(r);
  write_file(c_.out + "/report.html", report_html(r));
}

void Run::finish() {
  judge_best();
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows, score_));
  report("finished");
  if (at_.epoch <= c_.train.epochs)
    std::printf("stopped: no better network since epoch %lld (--train.patience)\n", whole(at_.best_epoch));
  std::printf("\n%s\nin %s: best.safetensors  last.safetensors  metrics.csv  report.html  %s\nnext: %s\n",
              verdict().c_str(), c_.out.c_str(), files().c_str(), next_command().c_str());
}

std::string Run::program(const std::string& name) const {
  std::string called = first_word(command_);  // such as ./train
  if (called.ends_with("train")) called.replace(called.size() - 5, 5, name);
  return called;
}

void Run::go() {
  describe();
  const int64_t parts = c_.train.accumulate;
  Loader loader(draw(), c_.train.batch, at_.step * parts, c_.train.epochs * steps_ * parts,
                loader_threads(c_, device_));
  while (!is_over()) {
    if (!one_epoch(loader)) stop(why_stop());
    try {
      end_epoch();
    } catch (const Quit&) {  // to be validated again when the run is resumed
      stop(why_stop());
    }
  }
  finish();
}

}  // namespace acinus
