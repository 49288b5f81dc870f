// evaluate: compares marks and masks with the truth: the FROC curve and the CPM of whole scans as LUNA16's evaluation
// computes them, Dice, IoU and the Hausdorff distance of masks, and the localisation errors of the marks.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "apps/common/config.h"
#include "apps/evaluation/evaluation.h"
#include "apps/report/svg_plot.h"
#include "data/formats/annotations.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

struct Options {
  std::string out;
  bool ignore_unknown = false;
  int64_t resamples = 1000, seed = 1, threads = 0;
  double confidence = 0.95;

  void add_settings(Settings& s) {
    s.add("out", out, "folder for the results; empty: evaluation, or evaluation-2, ...");
    s.add("ignore_unknown", ignore_unknown, "leave out marks of unknown scans");
    s.add("resamples", resamples, "bootstrap samples of the scans, for the confidence intervals; 0: none")
        .between(0, 1e5);
    s.add("confidence", confidence, "level of the confidence intervals").between(0.01, 0.9999);
    s.add("seed", seed, "of the bootstrap");
    add_threads_setting(s, threads);
  }
  Evaluation evaluation(const std::string& title, const std::string& command) const {
    Evaluation e;
    e.title = title, e.command = command, e.options = {resamples, confidence, uint64_t(seed)};
    return e;
  }
};

std::string command_line(int argc, char** argv) {
  std::string out;
  for (int i = 0; i < argc; i++) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n\"'\\$`;&|<>()*?#~!") == word.npos;
    out += text(i > 0 ? " " : "", plain ? "" : "'", word, plain ? "" : "'");
  }
  return out;
}

// What tells paths apart: without the folders that they all begin with, and the part after the last / that they all
// end with.
//   runs/a/nodules.csv runs/b/nodules.csv -> a b
std::vector<std::string> short_names(std::vector<std::string> paths) {
  if (paths.size() < 2) return paths;
  const auto all_alike = [&](const auto& part) {
    return std::ranges::all_of(paths, [&](const std::string& path) { return part(path) == part(paths[0]); });
  };
  const auto first = [](const std::string& path) { return path.substr(0, path.find('/') + 1); };
  const auto last = [](const std::string& path) { return path.substr(std::min(path.size(), path.rfind('/'))); };
  while (first(paths[0]) != "" && all_alike(first))
    for (std::string& path : paths) path = path.substr(path.find('/') + 1);
  while (last(paths[0]) != "" && all_alike(last))
    for (std::string& path : paths) path.resize(path.rfind('/'));
  return paths;
}

void print_and_write(const Evaluation& e, const std::string& folder) {
  for (const std::string& note : e.notes) std::printf("note: %s\n", note.c_str());
  std::printf("%s%s", e.notes.empty() ? "" : "\n", counts_text(e).c_str());
  for (const std::string& part : {froc_text(e), difference_text(e), localisation_text(e), masks_text(e)})
    if (!part.empty()) std::printf("\n%s", part.c_str());

  const std::string out = folder.empty() ? fresh_folder("evaluation") : folder;
  make_folder(out);
  const std::string plot = froc_plot(e);
  if (!plot.empty()) {
    write_file(out + "/froc.csv", froc_csv(e));
    write_file(out + "/froc.svg", svg_file(plot));
  } else {  // those of an earlier evaluation would be misleading
    fs::remove(out + "/froc.csv");
    fs::remove(out + "/froc.svg");
  }
  if (!e.masks.empty()) write_file(out + "/scans.csv", scans_csv(e));
  write_file(out + "/evaluation.html", evaluation_html(e));
  std::printf("\nin %s: evaluation.html%s%s\n", out.c_str(), plot.empty() ? "" : "  froc.csv  froc.svg",
              e.masks.empty() ? "" : "  scans.csv");
}

// ---- ./evaluate froc: tables alone

int evaluate_tables(int argc, char** argv, const std::string& command) {
  Options options;
  std::string annotations, excluded, seriesuids;
  std::vector<std::string> submissions;
  Settings settings("evaluate froc",
                    "FROC curve and CPM of submissions (seriesuid,coordX,coordY,coordZ,probability), as LUNA16's\n"
                    "evaluation computes them. Several submissions are compared.");
  settings.add_argument("SUBMISSION", submissions, "one or more csv files of marks");
  settings.add("annotations", annotations, "the nodules: annotations.csv");
  settings.add("excluded", excluded, "findings that count neither way: annotations_excluded.csv");
  settings.add("seriesuids", seriesuids, "the scans, including those without nodules: seriesuids.csv");
  options.add_settings(settings);
  if (!settings.parse(argc, argv)) return 0;
  if (annotations.empty()) throw UsageError("--annotations is missing: the table of nodules, annotations.csv");
  use_threads(options.threads);

  Evaluation e =
      options.evaluation(submissions.size() == 1 ? submissions[0] : text(submissions.size(), " submissions"), command);
  Truth truth;
  truth.nodules = read_annotations(annotations);
  if (!excluded.empty()) truth.excluded = read_annotations(excluded);
  if (!seriesuids.empty()) truth.scans = read_seriesuids(seriesuids);
  std::vector<std::vector<Candidate>> marks;
  for (const std::string& path : submissions)
    marks.push_back(read_marks(path, truth.scans, seriesuids, options.ignore_unknown, e.notes));
  if (seriesuids.empty()) {
    std::set<std::string> seen;
    for (const Annotation& nodule : truth.nodules) seen.insert(nodule.seriesuid);
    for (const auto& submission : marks)
      for (const Candidate& mark : submission) seen.insert(mark.seriesuid);
    truth.scans.assign(seen.begin(), seen.end());
    e.notes.push_back(text("WITHOUT --seriesuids the scans are the ", truth.scans.size(),
                           " that have a nodule or a mark. Scans with neither are not counted; they would lower the "
                           "false positives per scan and raise the CPM"));
  }
  add_truth_notes(truth, e);
  const std::vector<std::string> names = short_names(submissions);
  for (size_t i = 0; i < submissions.size(); i++)
    e.submissions.push_back(evaluate_marks(names[i], truth, marks[i], e.options));
  print_and_write(e, options.out);
  return 0;
}

// ---- ./evaluate PREDICTIONS: what ./predict wrote, against a data set

// The scans that have a mask or marks; notes say which others are left out.
std::vector<const Source*> predicted_scans(const Sources& sources, const std::string& predictions,
                                           const std::vector<Candidate>& marks, std::vector<std::string>& notes) {
  std::set<std::string> marked;
  for (const Candidate& mark : marks) marked.insert(mark.seriesuid);
  std::vector<const Source*> predicted;
  std::string left_out;
  size_t others = 0, without_mask = 0;
  for (const Source& source : sources.list) {
    const bool has_mask = !mask_path(predictions, source.id).empty();
    if (has_mask || marked.contains(source.id)) {
      predicted.push_back(&source);
      without_mask += !has_mask;
    } else if (others++ < 10) {
      left_out += " " + source.id;
    }
  }
  const size_t all = sources.list.size();
  if (predicted.empty()) fail(predictions, ": holds nothing about any of the ", all, " scans");
  if (others > 0)
    notes.push_back(text(others, " of ", all,
                         " scans have no prediction and are counted neither as scans nor as misses:", left_out,
                         others > 10 ? " ..." : ""));
  if (without_mask > 0) notes.push_back(text(without_mask, " scans have marks but no mask"));
  return predicted;
}

int evaluate_predictions(int argc, char** argv, const std::string& command) {
  Options options;
  Config config;
  std::string predictions;
  Settings settings("evaluate",
                    "Compares what ./predict left in a folder (<seriesuid>_mask.mhd, nodules.csv) with the data:\n"
                    "FROC curve and CPM, Dice, IoU and HD95 of each scan, and localisation errors.\n"
                    "Tables alone:  evaluate froc SUBMISSION.csv --annotations A.csv (see evaluate froc --help)");
  settings.add_argument("PREDICTIONS", predictions, "the folder that ./predict wrote");
  settings.add("data", config.data, "the scans in LUNA16 form, with annotations.csv");
  add_cache_settings(settings, config);
  settings.add("input.lungs", config.input_lungs, "as in ./train, so that its cache is reused");
  options.add_settings(settings);
  if (!settings.parse(argc, argv)) return 0;
  if (config.data.empty()) throw UsageError("--data is missing: the scans in LUNA16 form, with annotations.csv");
  use_threads(options.threads);
  note_signals();
  if (!fs::is_directory(predictions)) fail(predictions, ": no such folder; ./predict makes one");
  const std::string table = predictions + "/nodules.csv";
  if (!fs::exists(table)) fail(table, ": no such file; ./predict writes it next to the masks");
  const Sources sources = find_sources(config.data);
  if (sources.kind == DataKind::pictures)
    fail(config.data, ": holds images and masks; only scans in LUNA16 form can be evaluated");

  Evaluation e = options.evaluation(predictions, command);
  e.notes = sources.warnings;
  std::vector<std::string> all;
  for (const Source& source : sources.list) all.push_back(source.id);
  const std::vector<Candidate> marks = read_marks(table, all, config.data, options.ignore_unknown, e.notes);
  const std::vector<const Source*> scans = predicted_scans(sources, predictions, marks, e.notes);
  Truth truth;
  truth.excluded = read_excluded(config.data);
  for (const Source* source : scans) {
    truth.scans.push_back(source->id);
    truth.nodules.insert(truth.nodules.end(), source->nodules.begin(), source->nodules.end());
  }
  add_truth_notes(truth, e);
  if (truth.nodules.empty())
    e.notes.push_back(
        "no nodule in these scans, so no sensitivity and no FROC curve; only masks and false positives are evaluated");
  e.submissions.push_back(truth.nodules.empty() ? Submission{table, match_marks(truth, marks), {}}
                                                : evaluate_marks(table, truth, marks, e.options));

  const CacheOptions cache = cache_options(config, config.data);
  make_folder(cache.folder);
  {
    Progress progress("masks", int64_t(scans.size()));
    for (const Source* source : scans) {
      e.masks.push_back(evaluate_mask(*source, mask_path(predictions, source->id), cache));
      for (const std::string& warning : e.masks.back().warnings) e.notes.push_back(source->id + ": " + warning);
      progress.update(int64_t(e.masks.size()));
      throw_if_interrupted();
    }
  }
  print_and_write(e, options.out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    const std::string command = command_line(argc, argv);
    if (argc > 1 && std::string(argv[1]) == "froc") return evaluate_tables(argc - 1, argv + 1, command);
    return evaluate_predictions(argc, argv, command);
  });
}
