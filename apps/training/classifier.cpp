#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "apps/prediction/classifier.h"
#include "apps/prediction/segment.h"
#include "apps/training/loop.h"
#include "apps/training/tasks.h"
#include "data/scoring/froc.h"
#include "nn/fold.h"
#include "nn/inspect.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Whether the run goes on with candidates that were found before.
bool has_candidates(const Config& c) {
  return !c.resume.empty() && std::filesystem::exists(c.resume + "/candidates.csv");
}

// On patients that it was trained on, a U-Net finds nodules too well, and the classifier's results would look better than
// they are.
void check_segmenter(const Config& c, const TrainingData& data) {
  if (has_candidates(c)) return;  // it is not needed
  const auto metadata = load_unet(c.segmenter).metadata;
  const auto list = metadata.find("held_out");
  if (list == metadata.end())
    fail(c.segmenter,
         ": does not say which patients were held out from its training; give the best.safetensors of a run");
  const std::string held_out = "," + list->second + ",";
  for (size_t i : data.split.validation) {
    const std::string& id = data.scans.scans[i].id;
    if (held_out.find("," + id + ",") == held_out.npos)
      fail(c.segmenter, ": ", id, ", who is held out here, was not held out from its training;",
           " give the same --data, --seed, --validation, --held_out, --fold and --folds as in its config.json");
  }
}

void check_resumed(const Config& c, const Config& before) {
  if (before.segmenter != c.segmenter || before.candidates.threshold != c.candidates.threshold ||
      to_metadata(before.crops.crop) != to_metadata(c.crops.crop))
    fail("--resume ", c.resume, ": its candidates and their crops would change; leave --segmenter, --classify.* and",
         " --input.hu_* as they were, or start another run");
}

// Runs the U-Net over every scan. Nothing if the run is to stop.
std::optional<std::vector<Candidate>> search(const Run& run, const Dataset& data) {
  const Config& c = run.config;
  const LoadedUNet loaded = load_unet(c.segmenter);
  const auto net = folded(*loaded.net);
  net->to(run.device);
  const InputFormat format = input_format(loaded.metadata, c.segmenter);
  if (format.lungs && !c.input_lungs)
    fail(c.segmenter, ": looks for nodules only in the lungs; leave --input.lungs true");
  const int64_t classes = net->options().out;
  int64_t slices = 0, done = 0;
  for (const Scan& scan : data.scans) slices += scan.image.grid.size[2];
  Progress progress("candidates", slices);
  std::vector<Candidate> candidates;
  for (const Scan& scan : data.scans) {
    Volume<float> probability(scan.image.grid);
    const int64_t pixels = scan.image.grid.size[0] * scan.image.grid.size[1];
    const auto add_slice = [&](int64_t z, const float* p) {
      for (int64_t i = 0; i < pixels; i++)
        probability.slice(z)[i] = *std::max_element(p + i * classes, p + (i + 1) * classes);
      progress.update(++done);
      return run.why_stop().empty();
    };
    if (!segment_slices(*net, scan.image, scan.labels, format, add_slice)) return {};
    for (Candidate& found : find_candidates(probability, scan.id, c.candidates)) candidates.push_back(std::move(found));
  }
  return candidates;
}

// The U-Net's candidates, kept in candidates.csv, where a resumed run finds them. Nothing if the run is to stop.
std::optional<std::vector<Candidate>> find_candidates_of_all(const Run& run, const Dataset& data) {
  const std::string path = run.config.out + "/candidates.csv";
  if (!has_candidates(run.config)) {
    if (run.state.step > 0) fail(path, ": is not there any more; put it back, or start another run");
    const auto found = search(run, data);
    if (!found) return {};
    write_candidates(path, *found);
  }
  return read_candidates(path);  // also after writing: the file rounds
}

// The candidates in a held-out patient that are, or are not, nodules.
struct HeldOutScan {
  const Scan* scan;
  std::vector<Vec3> centres = {};
  std::vector<double> probabilities = {};  // by the U-Net
  std::vector<bool> is_nodule = {};
};

std::vector<HeldOutScan> held_out_scans(const TrainingData& data, const std::vector<Candidate>& candidates,
                                        const std::vector<Annotation>& excluded) {
  std::vector<HeldOutScan> all;
  for (size_t i : data.split.validation) {
    HeldOutScan& held_out = all.emplace_back(HeldOutScan{&data.scans.scans[i]});
    for (const Candidate& candidate : candidates) {
      if (candidate.seriesuid != held_out.scan->id) continue;
      const Verdict verdict = judge(candidate.centre, *held_out.scan, excluded);
      if (verdict == Verdict::ignored) continue;
      held_out.centres.push_back(candidate.centre);
      held_out.probabilities.push_back(candidate.probability);
      held_out.is_nodule.push_back(verdict == Verdict::nodule);
    }
  }
  return all;
}

struct Evaluation {
  double loss = NAN, auc = NAN;
  std::vector<double> nodules, others;  // their probabilities
};

// Of a classifier in eval mode, or without one of the U-Net's own probabilities. Nothing if a signal interrupts it.
std::optional<Evaluation> evaluate(const std::vector<HeldOutScan>& scans, ResNet* net, const CropOptions& crop) {
  Evaluation result;
  double sum = 0;
  for (const HeldOutScan& scan : scans) {
    const std::vector<double> of_scan = net ? classify(*net, crop, scan.scan->image, scan.centres) : scan.probabilities;
    for (size_t k = 0; k < of_scan.size(); k++) {
      const bool nodule = scan.is_nodule[k];
      (nodule ? result.nodules : result.others).push_back(of_scan[k]);
      sum -= std::log(std::max(nodule ? of_scan[k] : 1 - of_scan[k], 1e-12));
    }
    if (noted_signal()) return {};
  }
  result.loss = sum / double(result.nodules.size() + result.others.size());
  result.auc = area_under_roc(result.nodules, result.others);
  return result;
}

// Unknown without nodules or without others among the candidates.
std::string shown_auc(double auc) { return std::isfinite(auc) ? fixed(auc, 4) : "     -"; }

}  // namespace

int train_classifier(Config& config, const Settings& settings, const std::string& command) {
  const Device device = config.machine.use();
  const TrainingData data(config);
  if (!data.scans.is_ct())
    fail(data.folder, ": holds images and masks; --task classify is for scans with annotations.csv, which says where",
         " each nodule is");
  check_segmenter(config, data);
  const std::vector<Annotation> excluded = read_excluded(data.folder);
  ResNet net(config.classifier, uint64_t(config.seed));
  net.to(device);

  std::vector<Candidate> candidates;
  std::vector<HeldOutScan> held_out;
  NamedTexts results;
  const CropOptions& crop = config.crops.crop;
  auto metadata = to_metadata(crop);
  metadata["resnet.config"] = to_json(net.options());
  const Task task{.net = net,
                  .metadata = metadata,
                  .score = kAuc,
                  .findings = {},
                  .loss = [&](const Tensor& x, const Tensor& t) { return bce_with_logits(net(x), t); },
                  .validate =
                      [&](Run&, EpochRow& row) {
                        const EvalMode eval_mode(net);
                        const auto result = evaluate(held_out, &net, crop);
                        if (result) row.val_loss = result->loss, row.val_auc = result->auc;
                        return result.has_value();
                      },
                  .add_to_report =
                      [&](Report& report) {
                        report.facts.emplace_back("candidates", text(candidates.size()));
                        report.results = results;
                      }};
  const auto saved = read_saved_run(config, data, "resnet.config");
  if (saved) check_resumed(config, saved->config);
  Run run(config, settings, command, data, task, config.train.steps, saved);
  if (!saved) run.save();  // the search takes long, and may be stopped
  const auto found = find_candidates_of_all(run, data.scans);
  if (!found) return run.stop();
  candidates = *found;
  held_out = held_out_scans(data, candidates, excluded);
  const CropSampler sampler(data.scans, data.split.train, candidates, excluded, config.crops, uint64_t(config.seed));
  run.describe(summary(net, [&] { net(Tensor::zeros(sampler.image_shape(1), DType::f32, device)); }),
               text(";\n  ", candidates.size(), " candidates of ", config.segmenter,
                    "\n  to learn from: ", sampler.nodules(), " nodules, hit by ", sampler.hits(), " candidates; ",
                    sampler.others(), " other candidates, ", sampler.hard(), " other dense points"));
  if (!train(run, task, batches_of(sampler))) return run.stop();

  const LoadedClassifier best = load_classifier(run.best_path());
  best.net->to(device);
  const auto before = evaluate(held_out, nullptr, crop), after = evaluate(held_out, best.net.get(), crop);
  if (!before || !after) return run.stop();
  const auto above_half = [](const std::vector<double>& all) {
    return std::ranges::count_if(all, [](double p) { return p > 0.5; });
  };
  results = {{"held-out candidates that are nodules", text(after->nodules.size())},
             {"... that are not", text(after->others.size())},
             {"AUC by the U-Net's own probability", shown_auc(before->auc)},
             {"AUC by the classifier's", shown_auc(after->auc)},
             {"nodules to which the classifier gives a probability above 0.5", text(above_half(after->nodules))},
             {"others to which it does", text(above_half(after->others))}};
  std::string verdict = "held-out patients\n";
  for (const auto& [name, value] : results) verdict += text("  ", name, ": ", value, "\n");
  run.finish(verdict, "candidates.csv", text("--model ", config.segmenter, " --classifier ", run.best_path()));
  return 0;
}

}  // namespace acinus
