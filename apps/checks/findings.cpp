#include "apps/checks/findings.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

// In colour where a person looks on (https://no-color.org).
std::string coloured(const char* code, const std::string& words) {
  static const bool on = is_terminal() && !(std::getenv("NO_COLOR") && *std::getenv("NO_COLOR"));
  return on ? text("\033[", code, "m", words, "\033[0m") : words;
}

}  // namespace

std::string shown(const Finding& f) {
  const char* const marks[] = {"·", "!", "✗"};
  const char* const codes[] = {"2", "33", "31"};
  std::string out = text("  ", coloured(codes[f.level], marks[f.level]), " ", f.what, "\n");
  if (!f.cure.empty()) out += text("    ", coloured("2", "→ " + f.cure), "\n");
  return out;
}

std::string one_line(const Finding& f) { return f.cure.empty() ? f.what : text(f.what, ". ", f.cure); }

std::string tally(const Findings& findings) {
  if (findings.empty()) return "nothing wrong was found";
  const char* const names[] = {"note", "warning", "error"};
  std::string parts;
  for (int level : {2, 1, 0}) {
    const auto n = std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.level == level; });
    if (n > 0) parts += text(parts.empty() ? "" : ", ", counted(n, names[level]));
  }
  return text(counted(findings.size(), "finding"), ": ", parts);
}

bool has_errors(const Findings& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.level == Finding::error; });
}

void append(Findings& to, const Findings& more) { to.insert(to.end(), more.begin(), more.end()); }

Findings examine_batch(const Tensor& x, const Tensor& t, const Config& c) {
  Findings out;
  const std::vector<float> image = x.to_vector<float>(), truth = t.to_vector<float>();
  const auto pieces = size_t(x.shape()[0]), each = image.size() / std::max<size_t>(pieces, 1);
  const std::string window =
      text("--input.hu_low ", shortest(c.input.window.low), " --input.hu_high ", shortest(c.input.window.high));
  size_t not_finite = 0, outside = 0, constant = 0, black = 0;
  for (size_t n = 0; n < pieces; n++) {
    const auto begin = image.begin() + int64_t(n * each), end = begin + int64_t(each);
    for (auto v = begin; v != end; ++v) {
      if (!std::isfinite(*v))
        not_finite++;
      else
        outside += *v < -1e-4f || *v > 1 + 1e-4f;
    }
    if (std::all_of(begin, end, [&](float v) { return v == *begin; })) constant++, black += *begin <= 0;
  }
  if (not_finite > 0)
    out.push_back({Finding::error, text("of the numbers of the first pieces, ", not_finite, " are not finite"),
                   "one of --augment.* or the data make them; ./doctor --data looks at the data"});
  if (outside > 0)
    out.push_back({Finding::error,
                   text(percent(double(outside) / double(image.size())), " of the first pieces lie outside 0 to 1"),
                   text("values must be brought to 0..1 by the window: ", window)});
  if (2 * constant > pieces)
    out.push_back(
        {Finding::error,
         text(constant, " of the first ", pieces, " pieces are of one value", black == constant ? ", black" : ""),
         text("the window shows nothing of these data: ", window,
              "; it must span the values that ./doctor --data prints (density, 0.5 % to 99.5 %)")});
  size_t foreground = 0, other = 0;
  for (float v : truth) foreground += v == 1, other += v != 0 && v != 1;
  if (other > 0)
    out.push_back({Finding::error, text(other, " pixels of the true masks are neither 0 nor 1"),
                   "masks must not be interpolated or scaled"});
  else if (foreground == 0 && c.sampling.foreground > 0)
    out.push_back({Finding::error, text("none of the first ", pieces, " pieces holds a nodule"),
                   "does the split leave any to learn from? ./doctor --data looks at the masks"});
  else if (foreground == truth.size())
    out.push_back({Finding::error, text("all pixels of the first ", pieces, " pieces are nodule"),
                   "look at the masks' values: ./doctor --data"});
  return out;
}

Findings examine_outputs(const Validation& v, const Config& c) {
  Findings out;
  // Outside the lungs nothing is predicted, on purpose: what counts is where it could be.
  double voxels = 0, possible = 0, truth = 0;
  for (const auto& scored : v.scans) {
    const Scan& scan = *scored.first;
    voxels += double(scan.image.grid.voxels());
    truth += double(scan.foreground);
    for (const SliceCount& slice : scan.slices) possible += double(slice.lungs);
  }
  if (voxels == 0) return out;
  const double share = c.input.lungs ? possible / voxels : 1;  // of all voxels
  const bool alone = c.train.loss == LossKind::dice;
  const std::string loss =
      alone ? "; the Dice loss alone has hardly a gradient where little is foreground: --train.loss dice+bce" : "";
  if (!std::isfinite(v.mean_probability)) {
    out.push_back({Finding::error, "the network puts out NaN on scans that were held out",
                   "./doctor --run names the layer; a lower --train.lr, --train.clip 1, and --precision fp32 help"});
    return out;
  }
  if (share == 0 || truth == 0) return out;
  if (v.highest - v.lowest < 1e-4)
    out.push_back(
        {Finding::error,
         text("the network puts out the same number everywhere, ", number(v.highest, 3), ", whatever it sees"),
         text("its layers are dead, or see nothing: a lower --train.lr, --net.norm batch, --net.init he; is "
              "the window right"
              " (--input.hu_low ",
              shortest(c.input.window.low), " --input.hu_high ", shortest(c.input.window.high), ")?", loss)});
  else if (v.predicted_share == 0)
    out.push_back(
        {Finding::warning,
         text("the network calls everything background: the highest probability is ", number(v.highest, 3), ", ",
              percent(truth / voxels), " of the voxels are nodule"),
         text("wait some epochs; else more pieces around nodules (--train.foreground), or a lower --train.lr", loss)});
  else if (v.predicted_share > 0.5 * share && v.predicted_share > 10 * truth / voxels)
    out.push_back(
        {Finding::warning,
         text("the network calls ", percent(v.predicted_share / share), " of ", share < 1 ? "the lungs" : "all voxels",
              " nodule; ", percent(truth / voxels / share), " are"),
         text("wait some epochs; else a lower --train.lr, and pieces without a nodule, too (--train.foreground 0.5)")});
  if (const double extreme = (v.extreme_share - (1 - share)) / share; extreme > 0.99 && v.dice < 0.1)
    out.push_back(
        {Finding::warning,
         text("the sigmoid is saturated: ", percent(extreme), " of the probabilities are within 1e-6 of 0 or 1"),
         text("nothing flows back through it: start again with a lower --train.lr (now ", shortest(c.schedule.lr), ")",
              loss)});
  return out;
}

Findings examine_rows(const std::vector<EpochRow>& rows, const Config& c) {
  Findings out;
  if (rows.empty()) return out;
  const EpochRow &first = rows.front(), &last = rows.back();
  std::vector<const EpochRow*> judged;
  double wait = 0;
  const EpochRow* best = nullptr;
  const EpochRow* lowest = &first;  // loss
  const EpochRow* bad = nullptr;
  for (const EpochRow& row : rows) {
    if (!std::isfinite(row.loss) && !bad) bad = &row;
    if (row.loss < lowest->loss) lowest = &row;
    wait += row.loader_wait / double(rows.size());
    if (!std::isfinite(row.val_dice)) continue;
    judged.push_back(&row);
    if (!best || row.val_dice > best->val_dice) best = &row;
  }
  if (bad)
    out.push_back({Finding::error, text("the loss of epoch ", bad->epoch, " is ", bad->loss),
                   "a lower --train.lr, --train.clip 1, or --precision fp32; ./doctor --run names the layer if the "
                   "saved network has it"});
  if (std::all_of(rows.begin(), rows.end(), [](const EpochRow& r) { return r.lr <= 0; })) {
    out.push_back({Finding::error, "the learning rate was 0 in all epochs, so nothing was learnt",
                   "--train.lr 1e-3, and look at --train.decay"});
  } else if (!bad && rows.size() >= 3 && lowest == &first) {
    out.push_back({Finding::error,
                   text("the loss has not fallen: ", number(first.loss, 3), " in the first epoch, ",
                        number(last.loss, 3), " in epoch ", last.epoch),
                   c.schedule.lr > 3e-3 ? text("a lower --train.lr (now ", shortest(c.schedule.lr), ")")
                                     : text("a higher --train.lr (now ", shortest(c.schedule.lr),
                                            ", 1e-2 with batch norm), or --train.clip 1")});
  }
  if (judged.size() >= 3 && best->val_dice <= 0)
    out.push_back({Finding::error, text("the validation Dice is 0 after each of ", judged.size(), " epochs"),
                   c.train.loss == LossKind::dice
                       ? "--train.loss dice+bce: the Dice loss alone has hardly a gradient where little is foreground"
                       : "./doctor --data on the data; if they are right, more epochs, or more pieces around nodules "
                         "(--train.foreground)"});
  // Overfitting: what is learnt gets better for long, what was held out worse.
  if (best && best->val_dice > 0 && judged.size() >= 4) {
    const size_t since =
        size_t(std::count_if(judged.begin(), judged.end(), [&](auto* r) { return r->epoch > best->epoch; }));
    double later = 0;  // mean Dice of the last third of these
    for (size_t i = judged.size() - std::max<size_t>(since / 3, 1); i < judged.size(); i++)
      later += judged[i]->val_dice / double(std::max<size_t>(since / 3, 1));
    if (since >= 5 && later < best->val_dice - 0.05 && last.loss < best->loss)
      out.push_back({Finding::note,
                     text("overfitting: since epoch ", best->epoch, " the validation Dice fell from ",
                          number(best->val_dice, 3), " to ", number(later, 3), ", while the loss fell from ",
                          number(best->loss, 3), " to ", number(last.loss, 3)),
                     "best.safetensors is of the best epoch; more data, more augmentation, --train.weight_decay, or "
                     "--train.patience"});
    double before = 0;  // the best Dice until four fifths of the way
    for (size_t i = 0; i < judged.size() * 4 / 5; i++) before = std::max(before, judged[i]->val_dice);
    if (best == judged.back() && last.epoch >= c.train.epochs && best->val_dice > before + 0.01)
      out.push_back({Finding::note,
                     text("the best epoch is the last one, ", best->epoch, " (Dice ", number(best->val_dice, 3), ")"),
                     text("it may still get better: --train.epochs ", 2 * c.train.epochs)});
  }
  if (wait > 0.05)
    out.push_back(
        {Finding::warning, text("training waited for batches in ", percent(wait), " of its time"),
         text("--train.loaders ", c.train.loaders > 0 ? 2 * c.train.loaders : 2, " (threads that draw them)")});
  return out;
}

Findings read_config(const std::string& folder, Config& c) {
  const std::string path = folder + "/config.json";
  if (!fs::exists(path))
    return {{Finding::error, text(folder, ": holds no config.json"), "name the folder of a run, such as runs/laptop"}};
  Settings settings("doctor", "");
  add_settings(settings, c);
  try {
    settings.set(read_file(path, 1 << 20), path);
  } catch (const UsageError& e) {
    return {{Finding::error, e.what(),
             "the run is of another version of ./train; remove or rename the setting as ./train --help has it"}};
  }
  if (c.task == "classify")
    return {{Finding::error, text(folder, ": is the run of a classifier; only those of U-Nets are looked at here"),
             text("its figures are in ", folder, "/metrics.csv and report.html")}};
  return {};
}

Findings examine_run(const std::string& folder, const Config& c) {
  Findings out;
  const std::string metrics = folder + "/metrics.csv", best = folder + "/best.safetensors",
                    last = folder + "/last.safetensors";
  if (!fs::exists(last)) {
    out.push_back(
        {Finding::warning, text(folder, ": the run ended before it saved its state for the first time"),
         "was it killed (out of memory: a smaller --train.batch or --train.size)? Start it again; --limits.save_minutes"
         " saves more often"});
  }
  if (fs::exists(metrics)) {
    const std::vector<EpochRow> rows = rows_from_csv(metrics);
    append(out, examine_rows(rows, c));
    if (!rows.empty() && rows.back().epoch < c.train.epochs && c.train.patience == 0)
      out.push_back({Finding::note,
                     text("stopped, or still running, after epoch ", rows.back().epoch, " of ", c.train.epochs),
                     text("to go on: ./train --resume ", folder)});
  }
  for (const std::string& file : {best, last}) {
    if (!fs::exists(file)) continue;
    const SafeTensors saved = read_safetensors(file);
    for (const auto& [name, tensor] : saved.tensors) {
      const std::vector<double> values = tensor.to_vector<double>();
      if (std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) continue;
      out.push_back({Finding::error, text(file, ": ", name, " holds numbers that are not finite"),
                     file == last
                         ? "best.safetensors may still be good; train again with a lower --train.lr or --train.clip 1"
                         : "train again with a lower --train.lr or --train.clip 1"});
      break;  // the first of many
    }
  }
  if (!fs::exists(best) && fs::exists(metrics))
    out.push_back({Finding::note, text(folder, ": no best.safetensors yet"),
                   "it is written after the first validation (--train.validate_every)"});
  return out;
}

}  // namespace acinus
