#include "apps/training/segmenter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/prediction/segment.h"
#include "apps/report/curve.h"
#include "apps/training/run.h"
#include "apps/training/validation.h"
#include "nn/inspect.h"
#include "tensor/io/file.h"

namespace acinus {

namespace {

class SegmenterRun : public Run {
 public:
  SegmenterRun(Config& config, Settings& settings, const std::string& command);

 private:
  void make_sampler();
  void look_at_data();

  std::string default_folder() const override { return "runs/" + c_.preset; }
  std::map<std::string, std::string> metadata() const override;
  std::string kind() const override { return "unet.config"; }
  void check_resumed(const Config&) const override {}
  std::string layers() const override {
    return summary(*net_, [&] { (*net_)(Tensor::zeros(sampler_->image_shape(1), DType::f32, device_)); });
  }
  Loader::Draw draw() const override { return batches_of(*sampler_); }
  std::string data_lines() const override;
  void validate(EpochRow& row) override;
  std::string scores(const EpochRow& row) const override;
  void leave(const EpochRow& row) override;
  void add_to(Report& report) const override;
  void judge_best() override;
  std::string verdict() const override;
  std::string next_command() const override;
  std::string files() const override { return "overlays/"; }

  Dataset flawed_;              // for --seed_bug, with masks as the seed system made them
  std::vector<size_t> judged_;  // indices of scans
  ValidationOptions judging_;
  InputFormat format_;
  UNet* net_ = nullptr;  // Run owns it
  std::unique_ptr<UNet> best_;
  std::unique_ptr<Sampler> sampler_;
  Validation validation_;
};

SegmenterRun::SegmenterRun(Config& config, Settings& settings, const std::string& command)
    : Run(config, settings, command, &EpochRow::val_dice), format_(input_format(c_, data_)) {
  auto net = std::make_unique<UNet>(net_options(c_, data_), uint64_t(c_.seed));
  net_ = net.get();
  net_->set_recompute(c_.recompute);
  net_->set_activations(c_.machine.activations());
  make_sampler();
  look_at_data();
  const auto loss = [this](const Tensor& x, const Tensor& t) {
    return segmentation_loss(net_->all_scales(x), t, named<LossKind>(c_.train.loss), c_.train.smooth);
  };
  const int64_t pieces = c_.train.batch * c_.train.accumulate;
  begin(std::move(net), loss, c_.train.steps > 0 ? c_.train.steps : (sampler_->nodule_slices() + pieces - 1) / pieces);
}

// What the network learns from and is judged on; with --seed_bug as the seed system did it (docs/museum.md). The
// table at the end is always of the held-out patients, whole scans and true masks.
void SegmenterRun::make_sampler() {
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
void SegmenterRun::look_at_data() {
  findings_ = examine_data(data_);
  append(findings_, examine_split(data_, split_));
  Tensor x, t;
  sampler_->draw(0, 32, x, t);
  append(findings_, examine_batch(x, t, c_));
}

std::map<std::string, std::string> SegmenterRun::metadata() const {
  auto all = to_metadata(format_);
  all[kind()] = to_json(net_->options());
  return all;
}

std::string SegmenterRun::data_lines() const {
  return text("  ", split_.train.size(), data_.pairs ? " pictures" : " patients", " to train on, ",
              split_.validation.size(), " held out",
              data_.made > 0 ? text("; ", data_.made, " made ready in ", cache_options(c_, folder_).folder) : "", "\n");
}

void SegmenterRun::validate(EpochRow& row) {
  Progress progress(text("epoch ", row.epoch, " validation"), 1);
  validation_ = acinus::validate(*net_, data_, judged_, judging_, [&](int64_t done, int64_t of) {
    progress.update(done, of);
    return !noted_signal();
  });
  if (validation_.stopped) throw Quit{0};  // without a word: go() has some
  row.val_dice = validation_.dice;
  if (at_.best_epoch == 0) early_ = examine_outputs(validation_, c_);
}

std::string SegmenterRun::scores(const EpochRow& row) const {
  return "val dice " + (std::isnan(row.val_dice) ? "     -" : fixed(row.val_dice, 4));
}

void SegmenterRun::leave(const EpochRow& row) {
  const Picture picture = overlay_of(validation_, format_.window);
  events_->picture(row.step, "held-out patients", picture);
  make_folder(c_.out + "/overlays");
  char name[64];
  std::snprintf(name, sizeof name, "/overlays/epoch_%03lld.png", static_cast<long long>(row.epoch));
  write_png(c_.out + name, picture);
}

void SegmenterRun::add_to(Report& report) const {
  if (!validation_.scans.empty())
    for (const Finding& finding : examine_outputs(validation_, c_))
      if (finding.level > Finding::note) report.findings.push_back(one_line(finding));
  report.pictures = picture_groups(validation_, format_.window);
  for (const auto& [scan, dice] : validation_.scans)
    report.patients.emplace_back(scan->id, scan->foreground ? dice : NAN);
}

void SegmenterRun::judge_best() {
  best_ = load_unet(c_.out + "/best.safetensors").net;
  best_->to(device_);
  best_->set_activations(c_.machine.activations());
  Progress progress("best network", 1);
  validation_ = acinus::validate(*best_, data_, split_.validation, {format_, uint64_t(c_.seed), {}},
                                 [&](int64_t done, int64_t of) {
                                   progress.update(done, of), quit_if_stopped();
                                   return true;
                                 });
}

std::string SegmenterRun::verdict() const {
  std::string out = text("held-out ", data_.pairs ? "pictures" : "patients",
                         ", best network (hard Dice over the whole ", data_.pairs ? "picture" : "scan", ")\n");
  for (const auto& [scan, dice] : validation_.scans)
    out += text("  ", scan->id, std::string(70 - std::min<size_t>(70, scan->id.size()), ' '), " ", fixed(dice, 4),
                scan->foreground ? ""
                : data_.pairs    ? "  (no foreground)"
                                 : "  (no nodule)",
                "\n");
  out += text("  mean over those with ", data_.pairs ? "foreground " : "nodules ", fixed(validation_.dice, 4), "\n");
  if (judging_.use_slice)  // to be compared with what the run reported: as many slices a patient, of other patients
    out += text("  mean over a fifth of their slices ",
                fixed(acinus::validate(*best_, data_, split_.validation, judging_, nullptr).dice, 4), "\n");
  return out;
}

std::string SegmenterRun::next_command() const {
  return text(program("predict"), " ", validation_.scans[0].first->path, " --model ", c_.out, "/best.safetensors");
}

}  // namespace

void train_segmenter(Config& config, Settings& settings, const std::string& command) {
  SegmenterRun(config, settings, command).go();
}

}  // namespace acinus
