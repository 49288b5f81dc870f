// train: teaches a U-Net to find nodules, or a classifier to tell them from what the U-Net took for some. Without
// arguments it makes its own data; see README.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "apps/config.h"
#include "apps/events.h"
#include "apps/findings.h"
#include "apps/train_classifier.h"
#include "apps/training.h"
#include "apps/validation.h"
#include "data/fingerprint.h"
#include "data/loader.h"
#include "nn/inspect.h"
#include "tensor/file.h"
#include "tensor/memory.h"

using namespace acinus;

namespace {

int loader_threads(const Config& c, Device device) {
  if (c.train.loaders > 0) return int(c.train.loaders);
  return device == Device::cpu ? 1 : std::clamp(int(std::thread::hardware_concurrency()) - 1, 1, 8);
}

long long whole(int64_t n) { return static_cast<long long>(n); }  // for printf

// A run: its data, its network, where it is, and what it writes.
class Run {
 public:
  Run(Config& config, Settings& settings, std::string command);
  void go();

 private:
  void check_resumed(const std::string& settings, const std::string& path) const;
  void make_sampler();
  void look_at_data();
  void describe();
  bool one_epoch(Loader& loader);  // false: it was stopped on the way
  void one_step(Loader& loader);
  void judge();
  bool is_over() const;  // all epochs are done, or it has long got no better
  std::string why_stop() const { return acinus::why_stop(c_, start_, at_.step); }
  void save();
  void stop(const std::string& why);
  void report(const std::string& state);
  void finish();
  double seconds() const { return at_.seconds + seconds_now() - start_; }
  double epoch_seconds() const { return at_.epoch_seconds + seconds_now() - epoch_start_; }

  Config& c_;
  std::string command_, program_, settings_;  // how it was called, its first word; all settings as JSON
  double start_ = seconds_now();
  Device device_;
  std::string folder_;     // of the data
  Dataset data_, flawed_;  // flawed_: for --seed_bug, with masks as the seed system made them
  Split split_;
  std::vector<size_t> judged_;  // indices of scans
  ValidationOptions judging_;
  std::unique_ptr<UNet> net_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Training> training_;
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<EventFile> events_;
  InputFormat format_;
  Schedule schedule_;
  int64_t steps_ = 0;  // an epoch
  Progression at_;
  Validation validation_;
  Findings findings_, early_;  // about the data, and the first validation
  std::vector<std::pair<std::string, std::string>> fingerprint_;
  double epoch_start_ = 0, waited_ = 0, last_save_ = seconds_now();
};

Run::Run(Config& config, Settings& settings, std::string command)
    : c_(config),
      command_(std::move(command)),
      program_(command_.substr(0, command_.find(' '))),
      device_(config.machine.use()) {
  data_ = load_data(c_, folder_);
  split_ = split_patients(data_, split_options(c_));
  format_ = input_format(c_, data_);
  net_ = std::make_unique<UNet>(net_options(c_, data_), uint64_t(c_.seed));
  net_->set_recompute(c_.recompute);
  net_->set_activations(c_.machine.activations());
  make_sampler();
  look_at_data();
  const int64_t pieces = c_.train.batch * c_.train.accumulate;
  steps_ = c_.train.steps > 0 ? c_.train.steps : (sampler_->nodule_slices() + pieces - 1) / pieces;
  schedule_ = make_schedule(c_, c_.train.epochs * steps_);

  SafeTensors saved;
  if (!c_.resume.empty()) {
    const std::string path = c_.resume + "/last.safetensors";
    saved = read_safetensors(path);
    if (!saved.metadata.contains("unet.config"))
      fail(path, ": is the state of a classifier's training; --task segment cannot go on with it");
    load_state_dict(*net_, saved, path);
    at_ = progression_from_json(saved.metadata.at("train.state"), path);
    const std::string trained_on = saved.metadata.contains("data") ? saved.metadata.at("data") : "";
    if (trained_on != identity(data_))
      fail(folder_, ": the data are not those that ", c_.resume, " was trained on (", identity(data_), " now, ",
           trained_on, " then); put them back, or start another run");
    check_resumed(saved.metadata.at("train.config"), path);
  }
  net_->to(device_);
  training_ = std::make_unique<Training>(c_, *net_, device_);
  if (!c_.resume.empty()) training_->load(saved);

  if (c_.out.empty()) c_.out = fresh_folder("runs/" + c_.preset);
  make_folder(c_.out);
  lock_ = std::make_unique<FolderLock>(c_.out);
  remove_leftovers(c_.out);
  if (std::filesystem::exists(c_.out + "/overlays")) remove_leftovers(c_.out + "/overlays");
  const std::string resumed = std::exchange(c_.resume, "");  // --config of this run is not to resume it
  settings_ = settings.to_json();
  c_.resume = resumed;
  write_file(c_.out + "/config.json", settings_);
  events_ = std::make_unique<EventFile>(c_.out);

  std::printf("settings: all in %s/config.json; other than by default\n", c_.out.c_str());
  settings.print();
}

// Not every setting may change when a run goes on; `settings` are those it was saved with.
void Run::check_resumed(const std::string& settings, const std::string& path) const {
  Config before;
  Settings of_before("train", "");
  add_settings(of_before, before);
  of_before.set(settings, path);
  if (split_patients(data_, split_options(before)).validation != split_.validation)
    fail("--resume ", c_.resume, ": it would be judged on patients that it was trained on; leave --seed, --validation,",
         " --held_out, --fold and --folds as they were");
  if (at_.step < (at_.epoch - 1) * steps_ || at_.step > at_.epoch * steps_)
    fail("--resume ", c_.resume, ": step ", at_.step, " is not in epoch ", at_.epoch, ", of ", steps_,
         " steps each; leave --train.steps (where it is 0, --train.batch and --train.accumulate) as it was");
  const std::string best = c_.resume + "/best.safetensors";
  if (at_.best_epoch > 0 && !std::filesystem::exists(best))
    fail(best, ": the best network, of epoch ", at_.best_epoch,
         ", is not there any more; put it back, or start another run");
}

// What the network learns from and is judged on; with --seed_bug as the seed system did it (docs/museum.md). The
// table at the end is always of the held-out patients, whole scans and true masks.
void Run::make_sampler() {
  const SeedBug bug = seed_bug_named(c_.seed_bug);
  if (data_.pairs && bug != SeedBug::none && bug != SeedBug::split && bug != SeedBug::norm)
    fail("--seed_bug ", c_.seed_bug, " is for scans with annotations.csv; ", folder_, " holds images and masks");
  SamplingOptions options = sampling_options(c_);
  judged_ = split_.validation;
  judging_ = {format_, uint64_t(c_.seed), {}};
  options.single_nodule = bug == SeedBug::single_nodule;
  const bool other_masks = bug == SeedBug::radius || bug == SeedBug::flip;
  if (other_masks) flawed_ = load_data(c_, folder_, bug);
  if (bug == SeedBug::split) {  // a fifth of the slices of the patients it learns from
    const auto aside = [seed = uint64_t(c_.seed)](const Scan& scan, int64_t z) {
      uint64_t hash = seed;
      for (char c : scan.id) hash = random_bits(hash, uint64_t(c));
      return random_uniform(hash, uint64_t(z)) < 0.2;
    };
    options.use_slice = [aside](const Scan& scan, int64_t z) { return !aside(scan, z); };
    judging_.use_slice = aside;
    judged_ = split_.train;
  }
  const auto sampler = [&] {
    return std::make_unique<Sampler>(other_masks ? flawed_ : data_, split_.train, options, uint64_t(c_.seed));
  };
  sampler_ = sampler();
  if (bug == SeedBug::norm) {  // to mean 0 and deviation 1 in training, and nowhere else
    Tensor x, t;
    sampler_->draw(0, 64, x, t);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < x.elements(); i++)
      sum += x.data<float>()[i], squares += x.data<float>()[i] * x.data<float>()[i];
    options.mean = sum / double(x.elements());
    options.deviation = std::sqrt(squares / double(x.elements()) - options.mean * options.mean);
    sampler_ = sampler();
  }
}

// What ./doctor would say of the data, the split and some pieces.
void Run::look_at_data() {
  fingerprint_ = rows(fingerprint(data_));
  findings_ = examine_data(data_);
  append(findings_, examine_split(data_, split_));
  Tensor x, t;
  sampler_->draw(0, 32, x, t);
  append(findings_, examine_batch(x, t, c_));
}

void Run::describe() {
  const Shape one = sampler_->image_shape(1);
  std::printf("\nnetwork\n%s", summary(*net_, [&] { (*net_)(Tensor::zeros(one, DType::f32, device_)); }).c_str());
  std::printf(
      "\ndata: %s\n  %zu %s to train on, %zu held out%s\n", folder_.c_str(), split_.train.size(),
      data_.pairs ? "pictures" : "patients", split_.validation.size(),
      data_.made > 0 ? text("; ", data_.made, " made ready in ", cache_options(c_, folder_).folder).c_str() : "");
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
  auto metadata = to_metadata(format_);
  metadata["format"] = "pt";
  metadata["unet.config"] = to_json(net_->options());
  metadata["train.config"] = settings_;
  metadata["data"] = identity(data_);
  metadata["epoch"] = std::to_string(at_.epoch);
  Progression now = at_;
  now.seconds = seconds();
  now.epoch_seconds = epoch_seconds(), now.epoch_wait = waited_;
  metadata["train.state"] = to_json(now);
  NamedTensors all = state_dict(*net_);
  for (const auto& entry : training_->state()) all.push_back(entry);
  const std::string path = c_.out + "/last.safetensors";
  try {
    write_safetensors(path, all, metadata);
  } catch (const Error& error) {
    if (!std::filesystem::exists(path)) throw;
    fail(error.what(), "; what was saved before is still there: ", program_, " --resume ", c_.out, " goes on from it");
  }
  last_save_ = seconds_now();
}

bool Run::is_over() const {
  const int64_t since_best = at_.epoch - 1 - at_.best_epoch;
  return at_.epoch > c_.train.epochs ||
         (c_.train.patience > 0 && since_best >= c_.train.patience * c_.train.validate_every);
}

void Run::stop(const std::string& why) {
  save();
  const std::string again = program_ + " --resume " + c_.out;
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
      const Work work("wait for a batch");
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
    one_step(loader);
    waited_ = at_.epoch_wait + loader.waited() - waited_before;
    const double rate =
        double((at_.step - begun) * c_.train.batch * c_.train.accumulate) / (seconds_now() - epoch_start_);
    char note[96];
    std::snprintf(note, sizeof note, "loss %.4f  %.0f images/s", at_.loss_sum / double(at_.step - first), rate);
    progress.update(at_.step - first, note);
    if (!why_stop().empty()) return false;
    if (seconds_now() - last_save_ > c_.limits.save_minutes * 60) save();
  }
  return true;
}

// After an epoch's steps: validates, and saves.
void Run::judge() {
  const int64_t images = steps_ * c_.train.batch * c_.train.accumulate;
  const double took = epoch_seconds();
  const bool last = at_.epoch == c_.train.epochs, validated = last || at_.epoch % c_.train.validate_every == 0;
  bool is_best = false;
  double dice = NAN;
  if (validated) {
    const auto average = training_->averaged();
    Progress progress(text("epoch ", at_.epoch, " validation"), 1);
    validation_ = validate(*net_, data_, judged_, judging_, [&](int64_t done, int64_t of) {
      progress.update(done, of);
      if (noted_signal()) throw Quit{0};  // to be done again when the run is resumed
    });
    dice = validation_.dice;
    early_ = at_.best_epoch == 0 ? examine_outputs(validation_, c_) : Findings{};
    is_best = dice > at_.best;
    if (is_best) {
      at_.best = dice, at_.best_epoch = at_.epoch;
      auto metadata = to_metadata(format_);
      metadata["format"] = "pt";
      metadata["unet.config"] = to_json(net_->options());
      metadata["train.config"] = settings_;
      metadata["epoch"] = std::to_string(at_.epoch);
      metadata["val_dice"] = shortest(dice);
      std::string held_out;  // for whoever trains on what this network finds
      for (size_t i : split_.validation) held_out += (held_out.empty() ? "" : ",") + data_.scans[i].id;
      metadata["held_out"] = held_out;
      write_safetensors(c_.out + "/best.safetensors", state_dict(*net_), metadata);
    }
  }
  const double lr = schedule_.at(at_.step - 1);
  at_.rows.push_back({at_.epoch, at_.step, at_.loss_sum / double(steps_), dice, lr, took, double(images) / took,
                      waited_ / took, double(memory::stats(device_).peak >> 20)});
  const EpochRow row = at_.rows.back();
  at_.epoch++;
  at_.loss_sum = at_.epoch_seconds = at_.epoch_wait = 0;
  epoch_start_ = seconds_now();
  waited_ = 0;
  save();

  for (const auto& [tag, value] : {std::pair<const char*, double>{"loss/train", row.loss},
                                   {"lr", row.lr},
                                   {"speed/images_per_second", row.images_per_second},
                                   {"speed/loader_wait", row.loader_wait},
                                   {"memory/peak_mb", row.peak_mb}})
    events_->scalar(row.step, tag, value);
  if (validated) {
    events_->scalar(row.step, "dice/validation", dice);
    const Picture picture = overlay_of(validation_, format_.window);
    events_->picture(row.step, "held-out patients", picture);
    make_folder(c_.out + "/overlays");
    char name[64];
    std::snprintf(name, sizeof name, "/overlays/epoch_%03lld.png", whole(row.epoch));
    write_png(c_.out + name, picture);
  }
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows));
  const double left = seconds() / double(row.epoch) * double(c_.train.epochs - row.epoch);
  report(text("running: epoch ", row.epoch, " of ", c_.train.epochs, ", about ", minutes(left), " left"));
  char val[32] = "          -  ";
  if (validated) std::snprintf(val, sizeof val, "%.4f%s", dice, is_best ? " *" : "  ");
  std::printf("epoch %3lld/%lld | loss %8.4f | val dice %s | lr %.1e | %6.1f images/s | %s\n", whole(row.epoch),
              whole(c_.train.epochs), row.loss, val, row.lr, row.images_per_second, minutes(seconds()).c_str());
  for (const Finding& finding : std::exchange(early_, {})) std::printf("%s", shown(finding).c_str());
  std::fflush(stdout);
}

void Run::report(const std::string& state) {
  Report r;
  r.title = "acinus: " + c_.out;
  r.command = command_;
  r.config_json = settings_;
  r.state = state;
  r.rows = at_.rows;
  r.facts = {{"machine", c_.machine.description()},
             {"network", text(net_->parameter_count(), " parameters")},
             {"steps", text(at_.step, " of ", c_.train.epochs * steps_)},
             {"time", minutes(seconds())}};
  Findings findings = findings_;
  if (!validation_.scans.empty()) append(findings, examine_outputs(validation_, c_));
  append(findings, examine_rows(at_.rows, c_));
  for (const Finding& finding : findings)
    if (finding.level > Finding::note) r.findings.push_back(one_line(finding));
  r.fingerprint = fingerprint_;
  r.pictures = picture_groups(validation_, format_.window);
  for (const auto& [scan, dice] : validation_.scans) r.patients.emplace_back(scan->id, scan->foreground ? dice : NAN);
  write_file(c_.out + "/report.html", report_html(r));
}

void Run::finish() {
  LoadedUNet loaded = load_unet(c_.out + "/best.safetensors");
  loaded.net->to(device_);
  loaded.net->set_activations(c_.machine.activations());
  {
    Progress progress("best network", 1);
    validation_ = validate(*loaded.net, data_, split_.validation, {format_, uint64_t(c_.seed), {}},
                           [&](int64_t done, int64_t of) { progress.update(done, of), quit_if_stopped(); });
  }
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows));
  report("finished");
  if (at_.epoch <= c_.train.epochs)
    std::printf("stopped: no better network since epoch %lld (--train.patience)\n", whole(at_.best_epoch));
  std::printf("\nheld-out %s, best network (hard Dice over the whole %s)\n", data_.pairs ? "pictures" : "patients",
              data_.pairs ? "picture" : "scan");
  for (const auto& [scan, value] : validation_.scans)
    std::printf("  %-70s %.4f%s\n", scan->id.c_str(), value,
                scan->foreground ? ""
                : data_.pairs    ? "  (no foreground)"
                                 : "  (no nodule)");
  std::printf("  mean over those with %s %.4f\n", data_.pairs ? "foreground" : "nodules", validation_.dice);
  if (judging_.use_slice)  // to be compared with what the run reported: as many slices a patient, of other patients
    std::printf("  mean over a fifth of their slices %.4f\n",
                validate(*loaded.net, data_, split_.validation, judging_, nullptr).dice);
  std::printf("\n");
  std::printf("in %s: best.safetensors  last.safetensors  metrics.csv  report.html  overlays/\n", c_.out.c_str());
  std::string predict = program_;  // ./train -> ./predict
  if (predict.ends_with("train")) predict.replace(predict.size() - 5, 5, "predict");
  std::printf("next: %s %s --model %s/best.safetensors\n", predict.c_str(), validation_.scans[0].first->path.c_str(),
              c_.out.c_str());
}

void Run::go() {
  describe();
  const int64_t parts = c_.train.accumulate;
  Loader loader(*sampler_, c_.train.batch, at_.step * parts, c_.train.epochs * steps_ * parts,
                loader_threads(c_, device_));
  while (!is_over()) {
    if (!one_epoch(loader)) stop(why_stop());
    try {
      judge();
    } catch (const Quit&) {
      stop(why_stop());
    }
    if (!is_over() && !why_stop().empty()) stop(why_stop());
  }
  finish();
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    Config config;
    Settings settings("train",
                      "Trains a U-Net to find lung nodules. Without arguments on synthetic scans, which it makes.");
    add_settings(settings, config);
    if (!settings.parse(argc, argv)) return;
    check_config(config);
    std::string command;
    for (int i = 0; i < argc; i++) command += std::string(i ? " " : "") + argv[i];
    note_signals();
    if (config.task == "classify")
      train_classifier(config, settings, command);
    else
      Run(config, settings, command).go();
  });
}
