// What can be wrong with a batch, a network's outputs, and a run.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include "apps/checks/checks.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"
#include "tensor/text.h"

namespace acinus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDiceAlone = "the Dice loss alone has hardly any gradient where little is foreground";

std::string window_settings(const Config& c) {
  return text("--input.hu_low ", shortest(c.input.window.low), " --input.hu_high ", shortest(c.input.window.high));
}

void check_images(const Tensor& x, const Config& c, Findings& out) {
  const std::vector<float> image = x.to_vector<float>();
  const int64_t patches = x.shape()[0], size = int64_t(image.size()) / std::max<int64_t>(patches, 1);
  int64_t not_finite = 0, outside = 0, constant = 0, black = 0;
  for (int64_t n = 0; n < patches; n++) {
    const std::span patch(image.data() + n * size, size);
    for (const float v : patch) {
      not_finite += !std::isfinite(v);
      outside += std::isfinite(v) && (v < -1e-4f || v > 1 + 1e-4f);
    }
    if (std::ranges::count(patch, patch[0]) == size) constant++, black += patch[0] <= 0;
  }
  if (not_finite > 0)
    out.error(text(counted(not_finite, "value"), " not finite in the first patches"),
              "one of --augment.* or the data cause this; ./doctor --data checks the data");
  if (outside > 0)
    out.error(text(percent(double(outside) / double(image.size())), " of the first patches lie outside 0 to 1"),
              "the window must map values to 0..1: " + window_settings(c));
  if (2 * constant > patches)
    out.error(
        text(constant, " of the first ", patches, " patches have a single value", black == constant ? ", black" : ""),
        text("the window shows nothing of these data: ", window_settings(c),
             "; it must span the values that ./doctor --data prints (density, 0.5 % to 99.5 %)"));
}

}  // namespace

Findings check_batch(const Tensor& x, const Tensor& t, const Config& c) {
  Findings out;
  check_images(x, c, out);
  const std::vector<float> truth = t.to_vector<float>();
  const int64_t patches = x.shape()[0];
  size_t foreground = 0, other = 0;
  for (float v : truth) foreground += v == 1, other += v != 0 && v != 1;
  if (other > 0)
    out.error(text(other, " pixels of the true masks are neither 0 nor 1"), "masks must not be interpolated or scaled");
  else if (foreground == 0 && c.sampling.foreground > 0)
    out.error(text("none of the first ", patches, " patches contains a nodule"),
              "does the split leave any for training? ./doctor --data checks the masks");
  else if (foreground == truth.size())
    out.error(text("all pixels of the first ", patches, " patches are nodule"),
              "check the values of the masks: ./doctor --data");
  return out;
}

Findings check_outputs(const Outputs& o, const Config& c) {
  Findings out;
  if (o.voxels == 0) return out;
  if (!std::isfinite(o.mean_probability)) {
    out.error("the network's output is NaN on held-out scans",
              "./doctor --run names the layer; a lower --train.lr, --train.clip 1, and --precision fp32 help");
    return out;
  }
  // Outside the lungs nothing is predicted, by design: what counts is where it could be.
  const double possible = c.input.lungs ? o.lung_voxels / o.voxels : 1, truth = o.true_voxels / o.voxels;
  if (possible == 0 || truth == 0) return out;
  const std::string loss = c.train.loss == LossKind::dice ? text("; ", kDiceAlone, ": --train.loss dice+bce") : "";
  if (o.highest - o.lowest < 1e-4)
    out.error(
        text("the network's output is the same everywhere, ", number(o.highest, 3), ", whatever the input"),
        text("its layers are dead or their input is constant: try a lower --train.lr, --net.norm batch, --net.init "
             "he; is the window right (",
             window_settings(c), ")?", loss));
  else if (o.predicted_share == 0)
    out.warning(
        text("the network predicts background everywhere: the highest probability is ", number(o.highest, 3), "; ",
             percent(truth), " of the voxels are nodule"),
        text("wait a few epochs; else more patches around nodules (--train.foreground), or a lower --train.lr", loss));
  else if (o.predicted_share > 0.5 * possible && o.predicted_share > 10 * truth)
    out.warning(text("the network predicts nodule in ", percent(o.predicted_share / possible), " of ",
                     possible < 1 ? "the lungs" : "all voxels", "; ", percent(truth / possible), " is right"),
                "wait a few epochs; else a lower --train.lr, and patches without a nodule (--train.foreground 0.5)");
  if (const double extreme = (o.extreme_share - (1 - possible)) / possible; extreme > 0.99 && o.dice < 0.1)
    out.warning(
        text("the sigmoid is saturated: ", percent(extreme), " of the probabilities are within 1e-6 of 0 or 1"),
        text("it passes no gradient: start again with a lower --train.lr (now ", shortest(c.schedule.lr), ")", loss));
  return out;
}

namespace {

void check_loss(const std::vector<EpochRow>& rows, const Config& c, Findings& out) {
  const EpochRow &first = rows.front(), &last = rows.back();
  const auto bad = std::ranges::find_if(rows, [](const EpochRow& row) { return !std::isfinite(row.loss); });
  const bool falls = std::ranges::any_of(rows, [&](const EpochRow& row) { return row.loss < first.loss; });
  if (bad != rows.end())
    out.error(text("the loss of epoch ", bad->epoch, " is ", bad->loss),
              "a lower --train.lr, --train.clip 1, or --precision fp32; ./doctor --run names the layer if the saved "
              "network is affected");
  if (std::ranges::all_of(rows, [](const EpochRow& row) { return row.lr <= 0; }))
    out.error("the learning rate was 0 in all epochs, so the network has not learnt anything",
              "--train.lr 1e-3, and check --train.decay");
  else if (bad == rows.end() && rows.size() >= 3 && !falls)
    out.error(text("the loss has not fallen: ", number(first.loss, 3), " in the first epoch, ", number(last.loss, 3),
                   " in epoch ", last.epoch),
              c.schedule.lr > 3e-3 ? text("a lower --train.lr (now ", shortest(c.schedule.lr), ")")
                                   : text("a higher --train.lr (now ", shortest(c.schedule.lr),
                                          ", 1e-2 with batch norm), or --train.clip 1"));
}

// `validated`: the epochs with a validation Dice, of which `best` has the highest.
void check_overfitting(const std::vector<EpochRow>& validated, const EpochRow& best, const EpochRow& last,
                       Findings& out) {
  const auto since = std::ranges::count_if(validated, [&](const EpochRow& row) { return row.epoch > best.epoch; });
  const int64_t third = std::max<int64_t>(since / 3, 1);
  double later = 0;  // mean Dice of the last third of these
  for (auto row = validated.end() - third; row != validated.end(); ++row) later += row->val_dice / double(third);
  if (since >= 5 && later < best.val_dice - 0.05 && last.loss < best.loss)
    out.note(text("overfitting: since epoch ", best.epoch, " the validation Dice fell from ", number(best.val_dice, 3),
                  " to ", number(later, 3), ", while the loss fell from ", number(best.loss, 3), " to ",
                  number(last.loss, 3)),
             "best.safetensors is of the best epoch; more data, more augmentation, --train.weight_decay, or "
             "--train.patience");
}

void check_dice(const std::vector<EpochRow>& rows, const Config& c, Findings& out) {
  std::vector<EpochRow> validated;
  std::ranges::copy_if(rows, std::back_inserter(validated),
                       [](const EpochRow& r) { return std::isfinite(r.val_dice); });
  if (validated.empty()) return;
  const EpochRow &best = *std::ranges::max_element(validated, {}, &EpochRow::val_dice), &last = rows.back();
  if ((validated.size() >= 3 || last.epoch >= c.train.epochs) && best.val_dice < 0.01)
    out.error(text("the validation Dice is ", best.val_dice <= 0 ? "0" : "below 0.01", " after each of ",
                   counted(validated.size(), "epoch")),
              c.train.loss == LossKind::dice
                  ? text("--train.loss dice+bce: ", kDiceAlone)
                  : "./doctor --data checks the data; if they are right, more epochs, or more "
                    "patches around nodules (--train.foreground)");
  if (best.val_dice < 0.01 || validated.size() < 4) return;
  check_overfitting(validated, best, last, out);
  double before = 0;  // the best Dice of the first four fifths
  for (size_t i = 0; i < validated.size() * 4 / 5; i++) before = std::max(before, validated[i].val_dice);
  if (best.epoch == validated.back().epoch && last.epoch >= c.train.epochs && best.val_dice > before + 0.01)
    out.note(text("the best epoch is the last one, ", best.epoch, " (Dice ", number(best.val_dice, 3), ")"),
             text("it may still improve: --train.epochs ", 2 * c.train.epochs));
}

}  // namespace

Findings check_rows(const std::vector<EpochRow>& rows, const Config& c) {
  Findings out;
  if (rows.empty()) return out;
  check_loss(rows, c, out);
  check_dice(rows, c, out);
  double wait = 0;
  for (const EpochRow& row : rows) wait += row.loader_wait / double(rows.size());
  if (wait > 0.05)
    out.warning(text("training waited for batches in ", percent(wait), " of its time"),
                text("--train.loaders ", c.train.loaders > 0 ? 2 * c.train.loaders : 2, " (threads that draw them)"));
  return out;
}

Findings read_config(const std::string& folder, Config& c) {
  Findings out;
  const std::string path = folder + "/config.json";
  if (!fs::exists(path)) {
    out.error(text(folder, ": holds no config.json"), "name the folder of a run, such as runs/laptop");
    return out;
  }
  Settings settings("doctor", "");
  add_settings(settings, c);
  try {
    settings.set(read_file(path, 1 << 20), path);
  } catch (const UsageError& e) {
    out.error(e.what(),
              "the run is of another version of ./train; remove the setting or rename it as in ./train --help");
    return out;
  }
  if (c.task == "classify")
    out.error(text(folder, ": is the run of a classifier; only runs of U-Nets can be checked"),
              text("its figures are in ", folder, "/metrics.csv and report.html"));
  return out;
}

Findings check_run(const std::string& folder, const Config& c) {
  Findings out;
  const std::string metrics = folder + "/metrics.csv", best = folder + "/best.safetensors",
                    last = folder + "/last.safetensors";
  if (!fs::exists(last))
    out.warning(text(folder, ": the run ended before it first saved its state"),
                "was it killed (out of memory: a smaller --train.batch or --train.size)? Start it again; "
                "--limits.save_minutes saves more often");
  if (fs::exists(metrics)) {
    const std::vector<EpochRow> rows = rows_from_csv(metrics);
    out.append(check_rows(rows, c));
    if (!rows.empty() && rows.back().epoch < c.train.epochs && c.train.patience == 0)
      out.note(text("stopped, or still running, after epoch ", rows.back().epoch, " of ", c.train.epochs),
               text("to continue: ./train --resume ", folder));
  }
  for (const std::string& file : {best, last}) {
    if (!fs::exists(file)) continue;
    const SafeTensors saved = read_safetensors(file);
    const auto bad = std::ranges::find_if(saved.tensors, [](const auto& named) {
      return !std::ranges::all_of(named.second.template to_vector<double>(), [](double v) { return std::isfinite(v); });
    });
    if (bad != saved.tensors.end())
      out.error(text(file, ": ", bad->first, " holds values that are not finite"),
                text(file == last ? "best.safetensors may still be good; " : "",
                     "train again with a lower --train.lr or --train.clip 1"));
  }
  if (!fs::exists(best) && fs::exists(metrics))
    out.note(text(folder, ": no best.safetensors yet"),
             "it is written after the first validation (--train.validate_every)");
  return out;
}

}  // namespace acinus
