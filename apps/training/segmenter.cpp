#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/training/loop.h"
#include "apps/training/tasks.h"
#include "apps/training/validation.h"
#include "nn/inspect.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// What ./doctor would say of the data, the split and a batch.
Findings check_all(const Config& config, const TrainingData& data, const Sampler& sampler) {
  Findings findings = check_data(data.scans);
  findings.append(check_split(data.scans, data.split));
  Tensor x, t;
  sampler.draw(0, 32, x, t);
  findings.append(check_batch(x, t, config));
  return findings;
}

// The patients held out, and how well a network does on them.
class HeldOut {
 public:
  HeldOut(const Config& config, const TrainingData& data) : config_(config), data_(data) {}

  // False if a signal interrupted it; then the results are those of the evaluation before.
  bool evaluate(UNet& net, const std::string& label) {
    Progress progress(label, 1);
    Validation results =
        validate(net, data_.scans, data_.split.validation,
                 {config_.input, uint64_t(config_.seed), config_.machine.activations()}, [&](int64_t done, int64_t of) {
                   progress.update(done, of);
                   return !noted_signal();
                 });
    if (results.stopped) return false;
    results_ = std::move(results);
    return true;
  }

  // For Task::validate.
  bool validate_epoch(UNet& net, Run& run, EpochRow& row) {
    if (!evaluate(net, text("epoch ", row.epoch, " validation"))) return false;
    row.val_dice = results_.dice;
    if (run.is_best(row)) best_ = results_, best_epoch_ = row.epoch;
    if (run.state.best_epoch == 0) run.remarks = check_outputs(results_, config_);
    const Picture picture = overlay_of(results_, config_.input.window);
    run.events->picture(row.step, "held-out patients", picture);
    make_folder(config_.out + "/overlays");
    char name[32];
    std::snprintf(name, sizeof name, "epoch_%03lld.png", static_cast<long long>(row.epoch));
    write_png(config_.out + "/overlays/" + name, picture);
    return true;
  }

  // The results are those of the best network from now on: kept, or if the run was resumed after its epoch, made again.
  bool judge_best(const Run& run) {
    if (best_epoch_ == run.state.best_epoch) {
      results_ = best_;
      return true;
    }
    const auto best = load_unet(run.best_path()).net;
    best->to(run.device);
    return evaluate(*best, "best network");
  }

  void add_to(Report& report) const {
    for (const Finding& finding : check_outputs(results_, config_))
      if (finding.level > Level::note) report.findings.push_back(one_line(finding));
    report.pictures = picture_groups(results_, config_.input.window);
    for (const auto& [scan, dice] : results_.scans)
      report.patients.emplace_back(scan->id, scan->foreground ? dice : NAN);
  }

  // A table, a line for each scan.
  std::string table() const {
    const DataKind kind = data_.scans.kind;
    const bool is_ct = kind == DataKind::ct;
    std::string out = text("held-out ", is_ct ? "patients" : "pictures", ", best network (hard Dice over the whole ",
                           noun_of(kind), ")\n");
    size_t width = 0;
    for (const auto& [scan, dice] : results_.scans) width = std::max(width, scan->id.size());
    for (const auto& [scan, dice] : results_.scans)
      out += text("  ", scan->id, std::string(width - scan->id.size(), ' '), "  ",
                  scan->foreground ? fixed(dice, 4) : text("no ", is_ct ? "nodule" : "foreground"), "\n");
    return out + text("  mean over those with ", foreground_of(kind), " ", fixed(results_.dice, 4), "\n");
  }

 private:
  const Config& config_;
  const TrainingData& data_;
  Validation results_, best_;  // of the last epoch, of the best
  int64_t best_epoch_ = 0;     // of best_; 0: none yet
};

}  // namespace

int train_segmenter(Config& config, const Settings& settings, const std::string& command) {
  const Device device = config.machine.use();
  const TrainingData data(config);
  const DType activations = config.machine.activations();
  const auto owned = make_unet(config.unet(), uint64_t(config.seed));
  UNet& net = *owned;
  net.to(device);
  const Sampler sampler(data.scans, data.split.train, config.sampling, uint64_t(config.seed));

  HeldOut held_out(config, data);
  auto metadata = to_metadata(config.input);
  metadata["unet.config"] = to_json(net.options());
  const Task task{.net = net,
                  .metadata = metadata,
                  .score = kDice,
                  .findings = check_all(config, data, sampler),
                  .loss =
                      [&](const Tensor& x, const Tensor& t) {
                        return segmentation_loss(net.all_scales(cast(x, activations)), t, config.train.loss,
                                                 config.train.smooth);
                      },
                  .validate = [&](Run& run, EpochRow& row) { return held_out.validate_epoch(net, run, row); },
                  .add_to_report = [&](Report& report) { held_out.add_to(report); }};

  const int64_t patches = config.train.batch * config.train.accumulate;
  const int64_t steps = config.train.steps > 0 ? config.train.steps : (sampler.nodule_slices() + patches - 1) / patches;
  Run run(config, settings, command, data, task, steps, read_saved_run(config, data, "unet.config"));
  const auto made = data.scans.made > 0
                        ? text(";\n  ", data.scans.made, " made ready in ", cache_options(config, data.folder).folder)
                        : "";
  run.describe(summary(net, [&] { net(Tensor::zeros(sampler.image_shape(1), DType::f32, device)); }), made);
  if (!train(run, task, batches_of(sampler))) return run.stop();

  if (!held_out.judge_best(run)) return run.stop();
  run.finish(held_out.table(), "overlays/", "--model " + run.best_path());
  return 0;
}

}  // namespace acinus
