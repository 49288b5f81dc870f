#include "apps/train_classifier.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/classifier.h"
#include "apps/curve.h"
#include "apps/page.h"
#include "apps/training.h"
#include "nn/inspect.h"
#include "tensor/file.h"

namespace acinus {

namespace {

// Without nodules or without others among the candidates there is none.
std::string shown_auc(double auc) { return std::isfinite(auc) ? fixed(auc, 4) : "-     "; }

long long whole(int64_t n) { return static_cast<long long>(n); }  // for printf

struct Row {  // of metrics.csv
  int64_t epoch = 0, step = 0;
  double loss = 0, val_loss = 0, val_auc = 0, lr = 0, seconds = 0;
};

// Where the run is; see Progression in training.h.
struct State {
  int64_t epoch = 1, step = 0, best_epoch = 0;
  double loss_sum = 0, seconds = 0, epoch_seconds = 0, best_auc = 0, best_loss = 0;
  std::vector<Row> rows{};
};

std::string to_json(const State& s) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Row& r : s.rows) rows.push_back({r.epoch, r.step, r.loss, r.val_loss, r.val_auc, r.lr, r.seconds});
  return nlohmann::ordered_json{
      {"epoch", s.epoch},       {"step", s.step},           {"best_epoch", s.best_epoch},
      {"loss_sum", s.loss_sum}, {"seconds", s.seconds},     {"epoch_seconds", s.epoch_seconds},
      {"best_auc", s.best_auc}, {"best_loss", s.best_loss}, {"rows", rows}}
      .dump();
}

State state_from_json(const std::string& text, const std::string& source) {
  try {
    const auto j = nlohmann::json::parse(text);
    const auto real = [](const nlohmann::json& n) { return n.is_null() ? NAN : n.get<double>(); };  // null: NaN
    State s{j.at("epoch"),   j.at("step"),          j.at("best_epoch"),     j.at("loss_sum"),
            j.at("seconds"), j.at("epoch_seconds"), real(j.at("best_auc")), real(j.at("best_loss"))};
    for (const auto& r : j.at("rows"))
      s.rows.push_back({r.at(0), r.at(1), r.at(2), real(r.at(3)), real(r.at(4)), r.at(5), r.at(6)});
    if (s.epoch < 1 || s.epoch > 1000001 || s.step < 0)
      fail(source, ": its state is that of epoch ", s.epoch, ", step ", s.step);
    return s;
  } catch (const nlohmann::json::exception& e) {
    fail(source, ": its \"train.state\" is damaged: ", e.what());
  }
}

std::string to_csv(const std::vector<Row>& rows) {
  std::string out = csv_line({"epoch", "step", "loss", "val_loss", "val_auc", "lr", "seconds"});
  for (const Row& r : rows)
    out += csv_line({text(r.epoch), text(r.step), shortest(r.loss), shortest(r.val_loss), shortest(r.val_auc),
                     shortest(r.lr), shortest(r.seconds)});
  return out;
}

class Run {
 public:
  Run(Config& config, Settings& settings, std::string command);
  void go();

 private:
  void check_segmenter() const;
  void check_resumed(const std::string& settings, const std::string& path) const;
  void find_candidates_of_all();
  void describe();
  bool one_epoch();  // false: it was stopped on the way
  struct Judged {
    double loss = NAN, auc = NAN;             // over all candidates of held-out patients
    std::vector<double> nodules{}, others{};  // their probabilities
  };
  Judged judge(ResNet& net) const;
  void end_epoch();
  std::map<std::string, std::string> metadata() const;
  void save();
  void stop(const std::string& why);
  void report(const std::string& state) const;
  void finish();
  bool is_over() const {
    return at_.epoch > c_.train.epochs ||
           (c_.train.patience > 0 && at_.epoch - 1 - at_.best_epoch >= c_.train.patience);
  }
  std::string why_stop() const { return acinus::why_stop(c_, start_, at_.step); }
  double seconds() const { return at_.seconds + seconds_now() - start_; }

  Config& c_;
  std::string command_, program_, settings_, folder_;
  double start_ = seconds_now(), epoch_start_ = 0, last_save_ = seconds_now();
  Device device_;
  Dataset data_;
  Split split_;
  std::vector<Annotation> excluded_;
  std::vector<Candidate> candidates_;
  CropSamplingOptions sampling_;
  std::unique_ptr<ResNet> net_;
  std::unique_ptr<Training> training_;
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<CropSampler> sampler_;
  Schedule schedule_;
  State at_;
  std::vector<std::pair<std::string, std::string>> results_;  // at the end
};

Run::Run(Config& config, Settings& settings, std::string command)
    : c_(config),
      command_(std::move(command)),
      program_(command_.substr(0, command_.find(' '))),
      device_(config.machine.use()),
      sampling_(crop_sampling_options(config)) {
  const bool resumes = !c_.resume.empty();
  data_ = load_data(c_, folder_);
  if (data_.pairs)
    fail(folder_, ": holds images and masks; --task classify is for scans with annotations.csv, which says where each",
         " nodule is");
  split_ = split_patients(data_, split_options(c_));
  check_segmenter();
  excluded_ = read_excluded(folder_);
  net_ = std::make_unique<ResNet>(classifier_options(c_), uint64_t(c_.seed));
  schedule_ = make_schedule(c_, c_.train.epochs * c_.train.steps);

  SafeTensors saved;
  if (resumes) {
    const std::string path = c_.resume + "/last.safetensors";
    saved = read_safetensors(path);
    if (!saved.metadata.contains("resnet.config"))
      fail(path, ": is the state of a U-Net's training; --task classify cannot go on with it");
    load_state_dict(*net_, saved, path);
    at_ = state_from_json(saved.metadata.at("train.state"), path);
    if (saved.metadata["data"] != identity(data_))
      fail(folder_, ": the data are not those that ", c_.resume, " was trained on (", identity(data_), " now, ",
           saved.metadata["data"], " then); put them back, or start another run");
    check_resumed(saved.metadata.at("train.config"), path);
  }
  net_->to(device_);
  training_ = std::make_unique<Training>(
      c_, *net_, [this](const Tensor& x, const Tensor& t) { return bce_with_logits((*net_)(x), t); }, device_);
  if (resumes) training_->load(saved);

  if (c_.out.empty()) c_.out = fresh_folder("runs/" + c_.preset + "-classifier");
  make_folder(c_.out);
  lock_ = std::make_unique<FolderLock>(c_.out);
  remove_leftovers(c_.out);
  const std::string resumed = std::exchange(c_.resume, "");  // --config of this run is not to resume it
  settings_ = settings.to_json();
  c_.resume = resumed;
  write_file(c_.out + "/config.json", settings_);
  std::printf("settings: all in %s/config.json; other than by default\n", c_.out.c_str());
  settings.print();
  if (!resumes) save();  // the search takes long, and may be stopped
  find_candidates_of_all();
  sampler_ = std::make_unique<CropSampler>(data_, split_.train, candidates_, excluded_, sampling_, uint64_t(c_.seed));
}

// A U-Net that learned from patients who are held out here finds their nodules all too well: the figures would flatter.
void Run::check_segmenter() const {
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

void Run::check_resumed(const std::string& settings, const std::string& path) const {
  Config before;
  Settings of_before("train", "");
  add_settings(of_before, before);
  of_before.set(settings, path);
  if (split_patients(data_, split_options(before)).validation != split_.validation)
    fail("--resume ", c_.resume, ": it would be judged on patients that it was trained on; leave --seed, --validation,",
         " --held_out, --fold and --folds as they were");
  const CropOptions &was = crop_sampling_options(before).crop, &is = sampling_.crop;
  if (before.segmenter != c_.segmenter || before.classify.threshold != c_.classify.threshold ||
      to_metadata(was) != to_metadata(is))
    fail("--resume ", c_.resume, ": its candidates and their crops would be others; leave --segmenter, --classify and",
         " --input.hu as they were, or start another run");
  if (at_.step < (at_.epoch - 1) * c_.train.steps || at_.step > at_.epoch * c_.train.steps)
    fail("--resume ", c_.resume, ": step ", at_.step, " is not in epoch ", at_.epoch, ", of ", c_.train.steps,
         " steps each; leave --train.steps as it was");
  if (at_.best_epoch > 0 && !std::filesystem::exists(c_.resume + "/best.safetensors"))
    fail(c_.resume, "/best.safetensors: the best network, of epoch ", at_.best_epoch,
         ", is not there any more; put it back, or start another run");
}

// The U-Net over every scan; kept in candidates.csv, where a resumed run finds them.
void Run::find_candidates_of_all() {
  const std::string path = c_.out + "/candidates.csv";
  if (!c_.resume.empty() && std::filesystem::exists(path)) {
    candidates_ = read_candidates(path);
    return;
  }
  if (at_.step > 0) fail(path, ": is not there any more; put it back, or start another run");
  LoadedUNet loaded = load_unet(c_.segmenter);
  loaded.net->to(device_);
  const InputFormat format = input_format(loaded.metadata, c_.segmenter);
  if (format.lungs && !c_.input.lungs)
    fail(c_.segmenter, ": looks for nodules in the lungs alone; leave --input.lungs true");
  const int64_t classes = loaded.net->options().out;
  CandidateOptions options;
  options.threshold = c_.classify.threshold;
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
    });
    for (Candidate& found : find_candidates(probability, scan.id, options)) candidates_.push_back(std::move(found));
  }
  write_candidates(path, candidates_);
  candidates_ = read_candidates(path);  // as a resumed run does: the file rounds
}

void Run::describe() {
  const Shape one = sampler_->image_shape(1);
  std::printf("\nnetwork\n%s", summary(*net_, [&] { (*net_)(Tensor::zeros(one, DType::f32, device_)); }).c_str());
  std::printf("\ndata: %s\n  %zu patients to train on, %zu held out; %zu candidates of %s\n", folder_.c_str(),
              split_.train.size(), split_.validation.size(), candidates_.size(), c_.segmenter.c_str());
  std::printf("  to learn from: %lld nodules, hit by %lld candidates; %lld other candidates, %lld other dense places\n",
              whole(sampler_->nodules()), whole(sampler_->hits()), whole(sampler_->others()), whole(sampler_->hard()));
  std::printf("  %lld steps an epoch, run folder %s\n%s\n\n", whole(c_.train.steps), c_.out.c_str(),
              c_.machine.description().c_str());
  if (!c_.resume.empty() && is_over())
    std::printf("the run is over, after %lld epochs; a larger --train.epochs goes on\n", whole(at_.epoch - 1));
  else if (!c_.resume.empty())
    std::printf("going on after step %lld, in epoch %lld\n", whole(at_.step), whole(at_.epoch));
  std::fflush(stdout);
}

std::map<std::string, std::string> Run::metadata() const {
  auto all = to_metadata(sampling_.crop);
  all["format"] = "pt";
  all["resnet.config"] = acinus::to_json(net_->options());
  all["train.config"] = settings_;
  return all;
}

void Run::save() {
  auto all = metadata();
  all["data"] = identity(data_);
  State now = at_;
  now.seconds = seconds();
  now.epoch_seconds = at_.epoch_seconds + seconds_now() - epoch_start_;
  all["train.state"] = to_json(now);
  NamedTensors tensors = state_dict(*net_);
  for (const auto& entry : training_->state()) tensors.push_back(entry);
  write_safetensors(c_.out + "/last.safetensors", tensors, all);
  last_save_ = seconds_now();
}

void Run::stop(const std::string& why) {
  save();
  const std::string again = program_ + " --resume " + c_.out;
  report(text("stopped at step ", at_.step, " (", why, "); go on with ", again));
  std::printf("stopped at step %lld of %lld (%s); all of it is saved. Go on with\n  %s\n", whole(at_.step),
              whole(c_.train.epochs * c_.train.steps), why.c_str(), again.c_str());
  std::fflush(stdout);
  throw Quit{noted_signal() ? 128 + noted_signal() : 0};
}

bool Run::one_epoch() {
  epoch_start_ = seconds_now();
  const int64_t first = (at_.epoch - 1) * c_.train.steps, batch = c_.train.batch, parts = c_.train.accumulate;
  Progress progress(text("epoch ", at_.epoch, "/", c_.train.epochs), c_.train.steps);
  while (at_.step < first + c_.train.steps) {
    Tensor x, t;
    for (int64_t part = 0; part < parts; part++) {
      {
        const Work work("draw a batch");
        sampler_->draw((at_.step * parts + part) * batch, batch, x, t);
      }
      training_->add(x, t);
    }
    const double norm = training_->gradient_norm(), loss = training_->loss();
    if (!std::isfinite(loss) || !std::isfinite(norm))
      fail("step ", at_.step + 1, ": the loss is ", loss, " and the gradient's norm ", norm,
           "; the first number that is not finite: ", training_->find_not_finite(), ". A lower --train.lr may help");
    training_->update(schedule_.at(at_.step));
    at_.step++;
    at_.loss_sum += loss;
    progress.update(at_.step - first, text("loss ", fixed(at_.loss_sum / double(at_.step - first), 4)));
    if (!why_stop().empty()) return false;
    if (seconds_now() - last_save_ > c_.limits.save_minutes * 60) save();
  }
  return true;
}

Run::Judged Run::judge(ResNet& net) const {
  const Evaluating evaluating(net);
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

void Run::end_epoch() {
  const double took = at_.epoch_seconds + seconds_now() - epoch_start_;
  bool is_best = false;
  Judged judged;
  {
    const auto average = training_->averaged();
    judged = judge(*net_);
    // The best order of the held-out candidates; of equal ones, and where there is none, the lower loss. Where there
    // are no candidates at all, the latest network.
    const double auc = std::isfinite(judged.auc) ? judged.auc : 0;
    is_best = at_.best_epoch == 0 || !std::isfinite(judged.loss) || auc > at_.best_auc ||
              (auc == at_.best_auc && judged.loss < at_.best_loss);
    if (is_best) {
      at_.best_auc = auc, at_.best_loss = judged.loss, at_.best_epoch = at_.epoch;
      auto all = metadata();
      all["epoch"] = std::to_string(at_.epoch);
      all["val_auc"] = shortest(judged.auc);
      write_safetensors(c_.out + "/best.safetensors", state_dict(*net_), all);
    }
  }
  at_.rows.push_back({at_.epoch, at_.step, at_.loss_sum / double(c_.train.steps), judged.loss, judged.auc,
                      schedule_.at(at_.step - 1), took});
  const Row row = at_.rows.back();
  at_.epoch++;
  at_.loss_sum = at_.epoch_seconds = 0;
  epoch_start_ = seconds_now();
  save();
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows));
  report(text("running: epoch ", row.epoch, " of ", c_.train.epochs));
  std::printf("epoch %3lld/%lld | loss %7.4f | val loss %7.4f | val AUC %s%s | lr %.1e | %s\n", whole(row.epoch),
              whole(c_.train.epochs), row.loss, row.val_loss, shown_auc(row.val_auc).c_str(), is_best ? " *" : "  ",
              row.lr, minutes(seconds()).c_str());
  std::fflush(stdout);
}

void Run::report(const std::string& state) const {
  std::string page = page_begin("acinus: " + c_.out) + page_state(state);
  if (at_.best_epoch > 0)
    page += page_key_figures(
        {{text("AUC of the best epoch, ", at_.best_epoch), shown_auc(at_.rows[size_t(at_.best_epoch - 1)].val_auc)},
         {"epochs", text(at_.rows.size())}});
  page += "</header>\n<main>\n<h2>Curves</h2>\n<div class='grid curves'>\n";
  const auto add = [&](const char* title, double Row::*value) {
    Curve curve{title, "", {}, {}, /*from_zero=*/true};
    for (const Row& row : at_.rows) curve.x.push_back(double(row.epoch)), curve.y.push_back(row.*value);
    curve.mark = at_.best_epoch - 1;
    page += text("<figure><figcaption><strong>", title, "</strong></figcaption>\n", svg_curve(curve), "</figure>\n");
  };
  if (!at_.rows.empty()) {
    add("Loss", &Row::loss);
    add("Validation loss", &Row::val_loss);
    add("AUC of the held-out candidates", &Row::val_auc);
  }
  page += "</div>\n" + page_facts("Held-out patients", results_) +
          page_facts("The run", {{"machine", c_.machine.description()},
                                 {"network", text(net_->parameter_count(), " parameters")},
                                 {"candidates", text(candidates_.size())},
                                 {"time", minutes(seconds())}});
  page += text("<h2>The same again</h2>\n<pre class='command'>", escaped(command_), "</pre>\n",
               "<details><summary>Settings (config.json)</summary>\n<pre>", escaped(settings_), "</pre></details>\n");
  write_file(c_.out + "/report.html", page + page_end());
}

void Run::finish() {
  LoadedClassifier best = load_classifier(c_.out + "/best.safetensors");
  best.net->to(device_);
  const Judged judged = judge(*best.net);
  std::vector<double> nodules, others;  // what the U-Net itself thinks of them
  for (size_t i : split_.validation)
    for (const Candidate& candidate : candidates_) {
      if (candidate.seriesuid != data_.scans[i].id) continue;
      const Verdict verdict = acinus::judge(candidate.centre, data_.scans[i], excluded_);
      if (verdict != Verdict::ignored) (verdict == Verdict::nodule ? nodules : others).push_back(candidate.probability);
    }
  write_file(c_.out + "/metrics.csv", to_csv(at_.rows));
  const std::string by_unet = shown_auc(area_under_roc(nodules, others)), by_this = shown_auc(judged.auc);
  results_ = {{"held-out candidates that are nodules", text(nodules.size())},
              {"... that are none", text(others.size())},
              {"AUC by the U-Net's own probability", by_unet},
              {"AUC by the classifier's", by_this}};
  report("finished");
  if (at_.epoch <= c_.train.epochs)
    std::printf("stopped: no better network since epoch %lld (--train.patience)\n", whole(at_.best_epoch));
  const auto above = [](const std::vector<double>& all) {
    return std::count_if(all.begin(), all.end(), [](double p) { return p > 0.5; });
  };
  std::printf("\nheld-out patients: %zu candidates are nodules, %zu are none\n", nodules.size(), others.size());
  std::printf("  AUC by the U-Net's own probability %s, by the classifier's %s\n", by_unet.c_str(), by_this.c_str());
  std::printf("  the classifier gives %td nodules and %td others a probability above 0.5\n\n", above(judged.nodules),
              above(judged.others));
  std::printf("in %s: best.safetensors  last.safetensors  metrics.csv  candidates.csv  report.html\n", c_.out.c_str());
  std::string predict = program_;  // ./train -> ./predict
  if (predict.ends_with("train")) predict.replace(predict.size() - 5, 5, "predict");
  std::printf("next: %s %s --model %s --classifier %s/best.safetensors\n", predict.c_str(),
              data_.scans[split_.validation[0]].path.c_str(), c_.segmenter.c_str(), c_.out.c_str());
}

void Run::go() {
  describe();
  while (!is_over()) {
    if (!one_epoch()) stop(why_stop());
    try {
      end_epoch();
    } catch (const Quit&) {  // to be judged again when the run is resumed
      stop(why_stop());
    }
    if (!is_over() && !why_stop().empty()) stop(why_stop());
  }
  finish();
}

}  // namespace

void train_classifier(Config& config, Settings& settings, const std::string& command) {
  Run(config, settings, command).go();
}

}  // namespace acinus
