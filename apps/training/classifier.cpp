#include "apps/training/classifier.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "apps/prediction/classifier.h"
#include "apps/prediction/segment.h"
#include "apps/training/run.h"
#include "nn/inspect.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Without nodules or without others among the candidates there is none.
std::string shown_auc(double auc) { return std::isfinite(auc) ? fixed(auc, 4) : "     -"; }

struct Judged {
  double loss = NAN, auc = NAN;             // over all candidates of held-out patients
  std::vector<double> nodules{}, others{};  // their probabilities
};

class ClassifierRun : public Run {
 public:
  ClassifierRun(Config& config, Settings& settings, const std::string& command);

 private:
  void check_segmenter() const;
  void find_candidates_of_all();
  Judged judge(ResNet& net) const;

  std::string default_folder() const override { return "runs/" + c_.preset + "-classifier"; }
  std::map<std::string, std::string> metadata() const override;
  std::string kind() const override { return "resnet.config"; }
  void check_resumed(const Config& before) const override;
  std::string layers() const override {
    return summary(*net_, [&] { (*net_)(Tensor::zeros(sampler_->image_shape(1), DType::f32, device_)); });
  }
  Loader::Draw draw() const override { return batches_of(*sampler_); }
  std::string data_lines() const override;
  void validate(EpochRow& row) override;
  std::string scores(const EpochRow& row) const override;
  void add_to(Report& report) const override;
  void judge_best() override;
  std::string verdict() const override;
  std::string next_command() const override;
  std::string files() const override { return "candidates.csv"; }

  std::vector<Annotation> excluded_;
  std::vector<Candidate> candidates_;
  CropSamplingOptions sampling_;
  ResNet* net_ = nullptr;  // Run owns it
  std::unique_ptr<CropSampler> sampler_;
  std::optional<Judged> by_unet_, by_this_;  // at the end
};

ClassifierRun::ClassifierRun(Config& config, Settings& settings, const std::string& command)
    : Run(config, settings, command, &EpochRow::val_auc), sampling_(config.crops) {
  if (data_.pairs)
    fail(folder_, ": holds images and masks; --task classify is for scans with annotations.csv, which says where each",
         " nodule is");
  check_segmenter();
  excluded_ = read_excluded(folder_);
  auto net = std::make_unique<ResNet>(c_.classifier, uint64_t(c_.seed));
  net_ = net.get();
  const auto loss = [this](const Tensor& x, const Tensor& t) { return bce_with_logits((*net_)(x), t); };
  begin(std::move(net), loss, c_.train.steps);
  if (c_.resume.empty()) save();  // the search takes long, and may be stopped
  find_candidates_of_all();
  sampler_ = std::make_unique<CropSampler>(data_, split_.train, candidates_, excluded_, sampling_, uint64_t(c_.seed));
}

// A U-Net that learned from patients who are held out here finds their nodules all too well: the figures would flatter.
void ClassifierRun::check_segmenter() const {
  if (!c_.resume.empty() && std::filesystem::exists(c_.resume + "/candidates.csv")) return;  // it is not asked again
  const auto metadata = load_unet(c_.segmenter).metadata;
  const auto list = metadata.find("held_out");
  if (list == metadata.end())
    fail(c_.segmenter, ": does not say on which patients it was not trained; give the best.safetensors of a run");
  const std::string held_out = "," + list->second + ",";
  for (size_t i : split_.validation)
    if (held_out.find("," + data_.scans[i].id + ",") == held_out.npos)
      fail(c_.segmenter, ": ", data_.scans[i].id,
           ", who is held out here, is not among those who were held out from its",
           " training; give the same --data, --seed, --validation, --held_out, --fold and --folds as in its "
           "config.json");
}

void ClassifierRun::check_resumed(const Config& before) const {
  const CropOptions &was = before.crops.crop, &is = sampling_.crop;
  if (before.segmenter != c_.segmenter || before.candidates.threshold != c_.candidates.threshold ||
      to_metadata(was) != to_metadata(is))
    fail("--resume ", c_.resume, ": its candidates and their crops would be others; leave --segmenter, --classify and",
         " --input.hu as they were, or start another run");
}

// The U-Net over every scan; kept in candidates.csv, where a resumed run finds them.
void ClassifierRun::find_candidates_of_all() {
  const std::string path = c_.out + "/candidates.csv";
  if (!c_.resume.empty() && std::filesystem::exists(path)) {
    candidates_ = read_candidates(path);
    return;
  }
  if (at_.step > 0) fail(path, ": is not there any more; put it back, or start another run");
  LoadedUNet loaded = load_unet(c_.segmenter);
  loaded.net->to(device_);
  const InputFormat format = input_format(loaded.metadata, c_.segmenter);
  if (format.lungs && !c_.input_lungs)
    fail(c_.segmenter, ": looks for nodules in the lungs alone; leave --input.lungs true");
  const int64_t classes = loaded.net->options().out;
  int64_t slices = 0, done = 0;
  for (const Scan& scan : data_.scans) slices += scan.image.grid.size[2];
  Progress progress("candidates", slices);
  for (const Scan& scan : data_.scans) {
    Volume<float> probability(scan.image.grid);
    const int64_t pixels = scan.image.grid.size[0] * scan.image.grid.size[1];
    segment_slices(*loaded.net, scan.image, scan.labels, format, [&](int64_t z, const float* p) {
      for (int64_t i = 0; i < pixels; i++)
        probability.slice(z)[i] = *std::max_element(p + i * classes, p + (i + 1) * classes);
      progress.update(++done);
      if (!why_stop().empty()) stop(why_stop());
      return true;
    });
    for (Candidate& found : find_candidates(probability, scan.id, c_.candidates)) candidates_.push_back(std::move(found));
  }
  write_candidates(path, candidates_);
  candidates_ = read_candidates(path);  // as a resumed run does: the file rounds
}

Judged ClassifierRun::judge(ResNet& net) const {
  const EvalMode eval_mode(net);
  Judged judged;
  double sum = 0;
  for (size_t i : split_.validation) {
    const Scan& scan = data_.scans[i];
    std::vector<Vec3> places;
    std::vector<Verdict> verdicts;
    for (const Candidate& candidate : candidates_) {
      if (candidate.seriesuid != scan.id) continue;
      const Verdict verdict = acinus::judge(candidate.centre, scan, excluded_);
      if (verdict == Verdict::ignored) continue;
      places.push_back(candidate.centre);
      verdicts.push_back(verdict);
    }
    const std::vector<double> probabilities = classify(net, sampling_.crop, scan.image, places);
    for (size_t k = 0; k < places.size(); k++) {
      const bool nodule = verdicts[k] == Verdict::nodule;
      (nodule ? judged.nodules : judged.others).push_back(probabilities[k]);
      sum -= std::log(std::max(nodule ? probabilities[k] : 1 - probabilities[k], 1e-12));
    }
    quit_if_stopped();
  }
  judged.loss = sum / double(judged.nodules.size() + judged.others.size());
  judged.auc = area_under_roc(judged.nodules, judged.others);
  return judged;
}

std::map<std::string, std::string> ClassifierRun::metadata() const {
  auto all = to_metadata(sampling_.crop);
  all[kind()] = to_json(net_->options());
  return all;
}

std::string ClassifierRun::data_lines() const {
  return text("  ", split_.train.size(), " patients to train on, ", split_.validation.size(), " held out; ",
              candidates_.size(), " candidates of ", c_.segmenter, "\n  to learn from: ", sampler_->nodules(),
              " nodules, hit by ", sampler_->hits(), " candidates; ", sampler_->others(), " other candidates, ",
              sampler_->hard(), " other dense places\n");
}

void ClassifierRun::validate(EpochRow& row) {
  const Judged judged = judge(*net_);
  row.val_loss = judged.loss, row.val_auc = judged.auc;
}

std::string ClassifierRun::scores(const EpochRow& row) const {
  return text("val loss ", std::isnan(row.val_loss) ? "     -" : fixed(row.val_loss, 4), " | val AUC ",
              shown_auc(row.val_auc));
}

void ClassifierRun::add_to(Report& report) const {
  report.facts.emplace_back("candidates", text(candidates_.size()));
  if (!by_this_) return;
  report.results = {{"held-out candidates that are nodules", text(by_unet_->nodules.size())},
                    {"... that are none", text(by_unet_->others.size())},
                    {"AUC by the U-Net's own probability", shown_auc(by_unet_->auc)},
                    {"AUC by the classifier's", shown_auc(by_this_->auc)}};
}

void ClassifierRun::judge_best() {
  const LoadedClassifier best = load_classifier(c_.out + "/best.safetensors");
  best.net->to(device_);
  by_this_ = judge(*best.net);
  by_unet_.emplace();
  for (size_t i : split_.validation)
    for (const Candidate& candidate : candidates_) {
      if (candidate.seriesuid != data_.scans[i].id) continue;
      const Verdict verdict = acinus::judge(candidate.centre, data_.scans[i], excluded_);
      if (verdict != Verdict::ignored)
        (verdict == Verdict::nodule ? by_unet_->nodules : by_unet_->others).push_back(candidate.probability);
    }
  by_unet_->auc = area_under_roc(by_unet_->nodules, by_unet_->others);
}

std::string ClassifierRun::verdict() const {
  const auto above = [](const std::vector<double>& all) {
    return std::count_if(all.begin(), all.end(), [](double p) { return p > 0.5; });
  };
  return text("held-out patients: ", by_this_->nodules.size(), " candidates are nodules, ", by_this_->others.size(),
              " are none\n  AUC by the U-Net's own probability ", shown_auc(by_unet_->auc), ", by the classifier's ",
              shown_auc(by_this_->auc), "\n  the classifier gives ", above(by_this_->nodules), " nodules and ",
              above(by_this_->others), " others a probability above 0.5\n");
}

std::string ClassifierRun::next_command() const {
  return text(program("predict"), " ", data_.scans[split_.validation[0]].path, " --model ", c_.segmenter,
              " --classifier ", c_.out, "/best.safetensors");
}

}  // namespace

void train_classifier(Config& config, Settings& settings, const std::string& command) {
  ClassifierRun(config, settings, command).go();
}

}  // namespace acinus
