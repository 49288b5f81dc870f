#include "apps/training/segmenter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/prediction/segment.h"
#include "apps/training/run.h"
#include "apps/training/validation.h"
#include "nn/inspect.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

class SegmenterRun : public Run {
 public:
  SegmenterRun(Config& config, Settings& settings, const std::string& command);

 private:
  void look_at_data();
  ValidationOptions validation_options() const { return {format_, uint64_t(c_.seed), c_.machine.activations()}; }

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

  InputFormat format_;
  UNet* net_ = nullptr;  // Run owns it
  std::unique_ptr<UNet> best_;
  std::unique_ptr<Sampler> sampler_;
  Validation validation_;
};

SegmenterRun::SegmenterRun(Config& config, Settings& settings, const std::string& command)
    : Run(config, settings, command, &EpochRow::val_dice), format_(c_.input) {
  auto net = make_unet(c_.net, uint64_t(c_.seed));
  net_ = net.get();
  sampler_ = std::make_unique<Sampler>(data_, split_.train, c_.sampling, uint64_t(c_.seed));
  look_at_data();
  const auto loss = [this](const Tensor& x, const Tensor& t) {
    return segmentation_loss(net_->all_scales(cast(x, c_.machine.activations())), t, c_.train.loss, c_.train.smooth);
  };
  const int64_t pieces = c_.train.batch * c_.train.accumulate;
  begin(std::move(net), loss, c_.train.steps > 0 ? c_.train.steps : (sampler_->nodule_slices() + pieces - 1) / pieces);
}

// What ./doctor would say of the data, the split and some pieces.
void SegmenterRun::look_at_data() {
  findings_ = check_data(data_);
  findings_.append(check_split(data_, split_));
  Tensor x, t;
  sampler_->draw(0, 32, x, t);
  findings_.append(check_batch(x, t, c_));
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
  validation_ = acinus::validate(*net_, data_, split_.validation, validation_options(), [&](int64_t done, int64_t of) {
    progress.update(done, of);
    return !noted_signal();
  });
  if (validation_.stopped) throw Quit{0};  // without a word: go() has some
  row.val_dice = validation_.dice;
  if (at_.best_epoch == 0) early_ = check_outputs(outputs_of(validation_), c_);
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
    for (const Finding& finding : check_outputs(outputs_of(validation_), c_))
      if (finding.level > Level::note) report.findings.push_back(one_line(finding));
  report.pictures = picture_groups(validation_, format_.window);
  for (const auto& [scan, dice] : validation_.scans)
    report.patients.emplace_back(scan->id, scan->foreground ? dice : NAN);
}

void SegmenterRun::judge_best() {
  best_ = load_unet(c_.out + "/best.safetensors").net;
  best_->to(device_);
  Progress progress("best network", 1);
  validation_ = acinus::validate(*best_, data_, split_.validation, validation_options(), [&](int64_t done, int64_t of) {
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
