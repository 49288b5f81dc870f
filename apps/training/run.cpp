#include "apps/training/run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "apps/checks/checks.h"
#include "data/dataset/statistics.h"
#include "nn/checkpoint.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"

namespace acinus {

namespace {

const std::string kPrefix = "optimizer.";  // load_state_dict ignores such names

std::unique_ptr<Optimizer> make_optimizer(const Config& c, const Module& net) {
  const auto& t = c.train;
  if (t.optimizer == OptimizerKind::sgd)
    return std::make_unique<Sgd>(net.parameters(), SgdOptions{t.momentum, /*nesterov=*/t.momentum > 0, t.weight_decay});
  const AdamOptions options{.weight_decay = t.weight_decay, .decoupled = t.optimizer == OptimizerKind::adamw};
  return std::make_unique<Adam>(net.parameters(), options);
}

long long whole(int64_t n) { return static_cast<long long>(n); }  // for printf

void print(const Findings& findings) {
  for (const Finding& finding : findings) std::printf("%s", shown(finding).c_str());
}

// "val dice 0.7512"
std::string shown_score(const EpochRow& row, Score score) {
  return (score == kDice ? "val dice " : "val AUC ") + (std::isnan(row.*score) ? "     -" : fixed(row.*score, 4));
}

// The words behind one another, in lines of at most 80 columns that begin with two spaces; the first behind `begin`.
std::string wrapped(const std::string& begin, const std::vector<std::string>& words) {
  std::string out = begin;
  size_t line = begin.size();
  for (const std::string& word : words) {
    if (line + 1 + word.size() > 80) out += "\n ", line = 1;
    out += " " + word, line += 1 + word.size();
  }
  return out + "\n";
}

// "held out: a, b, c", of many only the first.
std::string held_out_line(const TrainingData& data) {
  constexpr size_t kNamed = 10;
  std::vector<std::string> names;
  for (size_t i : data.split.validation) names.push_back(data.scans.scans[i].id);
  const size_t others = names.size() - std::min(names.size(), kNamed);
  names.resize(names.size() - others);
  for (size_t i = 0; i + 1 < names.size(); i++) names[i] += ",";
  if (others > 0) names.back() += text(" and ", others, " others");
  return wrapped("  held out:", names);
}

}  // namespace

TrainingData::TrainingData(Config& config)
    : scans(load_data(config, folder)), split(split_patients(scans, config.split)) {}

// ---- where a run is -------------------------------------------------------------------------------------------

// Of each epoch, in this order, after its number and its step.
constexpr Score kSaved[] = {&EpochRow::loss,    &EpochRow::val_dice,          &EpochRow::lr,
                            &EpochRow::seconds, &EpochRow::images_per_second, &EpochRow::loader_wait,
                            &EpochRow::peak_mb, &EpochRow::val_loss,          &EpochRow::val_auc};

static Json json_of(const EpochRow& row) {
  Json::List numbers{row.epoch, row.step};
  for (const Score value : kSaved) numbers.push_back(row.*value);
  return numbers;
}

static EpochRow row_of(const Json& json) {
  const auto numbers = json.as<Json::List>();
  if (numbers.size() != 2 + std::size(kSaved)) throw JsonError("an epoch has another count of numbers");
  EpochRow row;
  row.epoch = numbers[0].as<int64_t>(), row.step = numbers[1].as<int64_t>();
  for (size_t i = 0; i < std::size(kSaved); i++)
    row.*kSaved[i] = numbers[2 + i].get<std::nullptr_t>() ? NAN : numbers[2 + i].as<double>();  // JSON has no NaN
  return row;
}

// Calls visit(name, number) for all but the rows.
template <class State, class Visit>
static void visit_numbers(State& s, Visit visit) {
  visit("epoch", s.epoch), visit("step", s.step), visit("loss_sum", s.loss_sum), visit("seconds", s.seconds);
  visit("best_epoch", s.best_epoch), visit("epoch_seconds", s.epoch_seconds), visit("epoch_wait", s.epoch_wait);
}

std::string to_json(const RunState& state) {
  Json json;
  visit_numbers(state, [&](const char* name, auto number) { json[name] = number; });
  Json::List rows;
  for (const EpochRow& row : state.rows) rows.push_back(json_of(row));
  json["rows"] = rows;
  return to_text(json);
}

RunState run_state_from_json(const std::string& text, const std::string& source) {
  try {
    const Json json = parse_json(text);
    RunState s;
    visit_numbers(s,
                  [&](const char* name, auto& number) { number = json.at(name).as<std::decay_t<decltype(number)>>(); });
    for (const Json& row : json.at("rows").as<Json::List>()) s.rows.push_back(row_of(row));
    if (s.epoch < 1 || s.epoch > 1000001 || s.step < 0 || int64_t(s.rows.size()) != s.epoch - 1 || s.best_epoch < 0 ||
        s.best_epoch >= s.epoch)
      fail(source, ": its state is that of epoch ", s.epoch, ", step ", s.step, ", with the numbers of ", s.rows.size(),
           " epochs, of which ", s.best_epoch, " was the best: these contradict each other; start another run");
    return s;
  } catch (const JsonError& e) {
    fail(source, ": its \"train.state\" is damaged, or of another version of ./train: ", e.what());
  }
}

std::optional<SavedRun> read_saved_run(const Config& config, const TrainingData& data, const std::string& kind) {
  const std::string& folder = config.resume;
  if (folder.empty()) return {};
  const std::string path = folder + "/last.safetensors";
  SavedRun saved{read_safetensors(path), {}, {}};
  const auto& metadata = saved.file.metadata;
  if (!metadata.contains(kind))
    fail(path, ": is the state of ", config.task == "classify" ? "a U-Net's" : "a classifier's", " training; --task ",
         config.task, " cannot go on with it");
  saved.state = run_state_from_json(metadata.at("train.state"), path);
  const std::string trained_on = metadata.contains("data") ? metadata.at("data") : "";
  if (trained_on != identity(data.scans))
    fail(data.folder, ": these are not the data that ", folder, " was trained on (", identity(data.scans), " now, ",
         trained_on, " then); put them back, or start another run");
  Settings settings("train", "");
  add_settings(settings, saved.config);
  settings.set(metadata.at("train.config"), path);
  if (split_patients(data.scans, saved.config.split).validation != data.split.validation)
    fail("--resume ", folder, ": it would be evaluated on patients that it was trained on; leave --seed, --validation,",
         " --held_out, --fold and --folds as they were");
  const std::string best = folder + "/best.safetensors";
  if (saved.state.best_epoch > 0 && !std::filesystem::exists(best))
    fail(best, ": the best network, of epoch ", saved.state.best_epoch,
         ", is not there any more; put it back, or start another run");
  return saved;
}

// ---- the run --------------------------------------------------------------------------------------------------

// Keeps a second ./train out of a run's folder for as long as this program runs.
static void lock_folder(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail(folder, ": another ./train is running in it");
}

Run::Run(Config& c, const Settings& settings, const std::string& command, const TrainingData& data, const Task& task,
         int64_t steps, const std::optional<SavedRun>& saved)
    : config(c),
      steps_per_epoch(steps),
      device(task.net.parameters()[0].second.device()),
      schedule(c.schedule),
      command_(command),
      program_(command.substr(0, command.find(' '))),
      data_(data),
      task_(task),
      statistics_(dataset_statistics(data.scans).rows),
      last_lap_(data.start) {
  schedule.steps = all_steps();
  if (saved) {
    state = saved->state;
    if (state.step < (state.epoch - 1) * steps || state.step > state.epoch * steps)
      fail("--resume ", c.resume, ": step ", state.step, " is not in epoch ", state.epoch, ", of ", steps,
           " steps each; leave --train.steps (where it is 0, --train.batch and --train.accumulate) as it was");
    load_state_dict(task.net, saved->file, c.resume + "/last.safetensors");
  }
  optimizer = make_optimizer(c, task.net);
  if (c.train.ema > 0) ema = std::make_unique<Ema>(task.net.state(), c.train.ema);
  if (saved) {
    SafeTensors own;
    for (const auto& [name, tensor] : saved->file.tensors)
      if (name.starts_with(kPrefix)) own.tensors.emplace_back(name.substr(kPrefix.size()), tensor);
    optimizer->load(own);
    if (ema) ema->load(own);
  }

  if (c.out.empty()) c.out = fresh_folder(text("runs/", c.preset, c.task == "classify" ? "-classifier" : ""));
  make_folder(c.out);
  lock_folder(c.out);
  for (const std::string& folder : {c.out, c.out + "/overlays"})
    if (std::filesystem::exists(folder)) remove_leftovers(folder);
  const std::string resumed = std::exchange(c.resume, "");  // --config of this run is not to resume it
  settings_ = settings.to_json();
  c.resume = resumed;
  metadata_ = task.metadata;
  metadata_["format"] = "pt";
  metadata_["train.config"] = settings_;
  write_file(c.out + "/config.json", settings_);
  events = std::make_unique<EventFile>(c.out);
  std::printf("settings: all in %s/config.json; those that are not the defaults:\n", c.out.c_str());
  settings.print();
}

void Run::describe(const std::string& layers, const std::string& more) const {
  std::printf("\nnetwork\n%s\ndata: %s\n  %zu %s to train on, %zu held out%s\n", layers.c_str(), data_.folder.c_str(),
              data_.split.train.size(), data_.scans.is_ct() ? "patients" : "pictures", data_.split.validation.size(),
              more.c_str());
  std::printf("%s", held_out_line(data_).c_str());
  print(task_.findings);
  std::printf("  %lld steps an epoch, run folder %s\n%s\n\n", whole(steps_per_epoch), config.out.c_str(),
              config.machine.description().c_str());
  if (!config.resume.empty() && is_over())
    std::printf("the run is over, after %lld epochs; a larger --train.epochs goes on\n", whole(state.epoch - 1));
  else if (!config.resume.empty())
    std::printf("going on after step %lld, in epoch %lld\n", whole(state.step), whole(state.epoch));
  std::fflush(stdout);
}

bool Run::is_over() const {
  const int64_t since_best = state.epoch - 1 - state.best_epoch;
  return state.epoch > config.train.epochs ||
         (config.train.patience > 0 && since_best >= config.train.patience * config.train.validate_every);
}

std::string Run::why_stop() const {
  if (noted_signal() == SIGINT) return "Ctrl-C";
  if (noted_signal()) return "SIGTERM";
  if (config.limits.minutes > 0 && seconds_now() - data_.start > config.limits.minutes * 60) return "--limits.minutes";
  if (config.limits.steps > 0 && state.step >= config.limits.steps) return "--limits.steps";
  return "";
}

double Run::lap() {
  const double now = seconds_now(), seconds = now - std::exchange(last_lap_, now);
  state.seconds += seconds;
  return seconds;
}

// ---- what it leaves -------------------------------------------------------------------------------------------

void Run::save() {
  lap();
  auto metadata = metadata_;
  metadata["data"] = identity(data_.scans);
  metadata["epoch"] = std::to_string(state.epoch);
  metadata["train.state"] = to_json(state);
  NamedTensors tensors = state_dict(task_.net);
  for (const auto& [name, tensor] : optimizer->state()) tensors.emplace_back(kPrefix + name, tensor);
  if (ema)
    for (const auto& [name, tensor] : ema->state()) tensors.emplace_back(kPrefix + name, tensor);
  try {
    write_safetensors(last_path(), tensors, metadata);
  } catch (const Error& error) {
    if (!std::filesystem::exists(last_path())) throw;
    fail(error.what(), "; the state saved before is still there: ", program_, " --resume ", config.out,
         " goes on from it");
  }
  last_save_ = seconds_now();
}

void Run::save_now_and_then() {
  if (seconds_now() - last_save_ > config.limits.save_minutes * 60) save();
}

bool Run::is_best(const EpochRow& row) const {
  return state.best_epoch == 0 || is_better(row, state.rows[state.best_epoch - 1], task_.score);
}

void Run::save_if_best(const EpochRow& row) {
  const Score score = task_.score;
  if (!is_best(row)) return;
  state.best_epoch = row.epoch;
  auto metadata = metadata_;
  metadata["epoch"] = std::to_string(row.epoch);
  metadata[score == kAuc ? "val_auc" : "val_dice"] = shortest(row.*score);
  std::string held_out;  // for a classifier, which must not be trained on what these patients show
  for (size_t i : data_.split.validation) held_out += (held_out.empty() ? "" : ",") + data_.scans.scans[i].id;
  metadata["held_out"] = held_out;
  write_safetensors(best_path(), state_dict(task_.net), metadata);
}

void Run::end_epoch(const EpochRow& row) {
  state.rows.push_back(row);
  state.epoch++;
  state.loss_sum = state.epoch_seconds = state.epoch_wait = 0;
  save();

  for (const Metric& metric : metrics_of(task_.score))
    if (metric.tag && !std::isnan(row.*metric.value)) events->scalar(row.step, metric.tag, row.*metric.value);
  write_file(config.out + "/metrics.csv", to_csv(state.rows, task_.score));
  const int64_t epochs = config.train.epochs;
  const double left = state.seconds / double(row.epoch) * double(epochs - row.epoch);
  report(text("running: epoch ", row.epoch, " of ", epochs, ", about ", fixed(left, 0), " seconds left"));
  std::printf("epoch %2lld/%lld  loss %7.4f  %s %s  lr %.1e  %3.0f images/s  %s\n", whole(row.epoch), whole(epochs),
              row.loss, shown_score(row, task_.score).c_str(), row.epoch == state.best_epoch ? "*" : " ", row.lr,
              row.images_per_second, minutes(state.seconds).c_str());
  if (state.best_epoch > 0 && !std::exchange(report_is_named_, true))
    std::printf("look: %s/report.html\n", config.out.c_str());
  print(std::exchange(remarks, {}));
  std::fflush(stdout);
}

int Run::stop() {
  save();
  const std::string why = why_stop(), again = program_ + " --resume " + config.out;
  report(text("stopped at step ", state.step, " (", why, "); go on with ", again));
  std::printf("stopped at step %lld of %lld (%s); everything is saved. Go on with\n  %s\n", whole(state.step),
              whole(all_steps()), why.c_str(), again.c_str());
  return noted_signal() ? 128 + noted_signal() : 0;
}

void Run::report(const std::string& status) const {
  Report r;
  r.title = "acinus: " + config.out;
  r.command = command_;
  r.config_json = settings_;
  r.state = status;
  r.rows = state.rows;
  r.score = task_.score;
  r.facts = {{"machine", config.machine.description()},
             {"network", text(task_.net.parameter_count(), " parameters")},
             {"steps", text(state.step, " of ", all_steps())},
             {"time", fixed(state.seconds, 0) + " seconds"}};
  r.seconds = state.seconds;
  r.fingerprint = statistics_;
  Findings findings = task_.findings;
  findings.append(check_rows(state.rows, config));
  for (const Finding& finding : findings)
    if (finding.level > Level::note) r.findings.push_back(one_line(finding));
  task_.add_to_report(r);
  write_file(config.out + "/report.html", report_html(r));
}

void Run::finish(const std::string& verdict, const std::string& files, const std::string& networks) {
  lap();
  write_file(config.out + "/metrics.csv", to_csv(state.rows, task_.score));
  report("finished");
  if (state.epoch <= config.train.epochs)
    std::printf("stopped: no better network since epoch %lld (--train.patience)\n", whole(state.best_epoch));
  std::string predict = program_;
  if (predict.ends_with("train")) predict.replace(predict.size() - 5, 5, "predict");
  std::printf("\n%s", verdict.c_str());
  for (const Finding& finding : check_rows(state.rows, config))
    if (finding.level > Level::note) std::printf("%s", shown(finding).c_str());
  const std::vector<std::string> all{"best.safetensors", "last.safetensors", "metrics.csv", "report.html", files};
  std::printf("\n%snext: %s \\\n  %s \\\n  %s\n", wrapped("in " + config.out + ":", all).c_str(), predict.c_str(),
              data_.scans.scans[data_.split.validation[0]].path.c_str(), networks.c_str());
}

}  // namespace acinus
