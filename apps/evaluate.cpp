// evaluate: judges marks and masks against what is true: the FROC curve and the CPM of whole scans as LUNA16's
// evaluation computes them, Dice, IoU and the Hausdorff distance of masks, and how far off the marks lie.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "apps/common/config.h"
#include "apps/evaluation/judging.h"
#include "apps/report/charts.h"
#include "apps/report/plot.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

struct Common {
  std::string out;
  bool ignore_unknown = false;
  int64_t resamples = 1000, seed = 1, threads = 0;
  double confidence = 0.95;

  void add_settings(Settings& s) {
    s.add("out", out, "folder for the results; empty: evaluation, or evaluation-2, ...");
    s.add("ignore_unknown", ignore_unknown, "marks of scans that are not known are left out");
    s.add("resamples", resamples, "sets of scans drawn for the intervals; 0: none").between(0, 1e5);
    s.add("confidence", confidence, "share of them that an interval holds").between(0.01, 0.9999);
    s.add("seed", seed, "of what is drawn");
    add_threads_setting(s, threads);
  }
  FrocOptions froc() const { return {resamples, confidence, uint64_t(seed)}; }
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

// What tells paths apart: without the folders that all begin with, and the part after the last / that all end with.
//   runs/a/nodules.csv runs/b/nodules.csv -> a b
std::vector<std::string> short_names(std::vector<std::string> paths) {
  if (paths.size() < 2) return paths;
  const auto all_alike = [&](const auto& part) {
    return std::all_of(paths.begin(), paths.end(),
                       [&](const std::string& path) { return part(path) == part(paths[0]); });
  };
  const auto first = [](const std::string& path) { return path.substr(0, path.find('/') + 1); };
  const auto last = [](const std::string& path) { return path.substr(std::min(path.size(), path.rfind('/'))); };
  while (first(paths[0]) != "" && all_alike(first))
    for (std::string& path : paths) path = path.substr(path.find('/') + 1);
  while (last(paths[0]) != "" && all_alike(last))
    for (std::string& path : paths) path.resize(path.rfind('/'));
  return paths;
}

// Prints it and writes its files.
void show(const Evaluation& e, const Common& common) {
  for (const std::string& note : e.notes) std::printf("note: %s\n", note.c_str());
  std::printf("%s%s", e.notes.empty() ? "" : "\n", counts_text(e).c_str());
  for (const std::string& part : {froc_text(e), difference_text(e), localisation_text(e), masks_text(e)})
    if (!part.empty()) std::printf("\n%s", part.c_str());

  const std::string out = common.out.empty() ? fresh_folder("evaluation") : common.out;
  make_folder(out);
  std::vector<std::pair<std::string, Froc>> curves;
  for (const Submission& s : e.submissions)
    if (s.froc.defined()) curves.emplace_back(s.name, s.froc);
  if (!curves.empty()) {
    write_file(out + "/froc.csv", froc_csv(e));
    write_file(out + "/froc.svg", svg_file(svg_froc(curves)));
  } else {  // those of an earlier evaluation say nothing of this one
    fs::remove(out + "/froc.csv");
    fs::remove(out + "/froc.svg");
  }
  if (!e.masks.empty()) write_file(out + "/scans.csv", scans_csv(e));
  write_file(out + "/evaluation.html", evaluation_html(e));
  std::printf("\nin %s: evaluation.html%s%s\n", out.c_str(), curves.empty() ? "" : "  froc.csv  froc.svg",
              e.masks.empty() ? "" : "  scans.csv");
}

// ---- ./evaluate froc: tables alone

void judge_tables(int argc, char** argv, const std::string& command) {
  Common common;
  std::string annotations, excluded, seriesuids;
  std::vector<std::string> submissions;
  Settings settings("evaluate froc",
                    "FROC curve and CPM of submissions (seriesuid,coordX,coordY,coordZ,probability), as LUNA16's\n"
                    "evaluation computes them. Several are compared.");
  settings.add_argument("SUBMISSION", submissions, "one or more csv files of marks");
  settings.add("annotations", annotations, "the nodules: annotations.csv");
  settings.add("excluded", excluded, "findings that count neither way: annotations_excluded.csv");
  settings.add("seriesuids", seriesuids, "the scans, those without nodules, too: seriesuids.csv");
  common.add_settings(settings);
  if (!settings.parse(argc, argv)) return;
  if (annotations.empty()) throw UsageError("--annotations is missing: the table of nodules, annotations.csv");
  use_threads(common.threads);

  Evaluation e;
  e.title = submissions.size() == 1 ? submissions[0] : text(submissions.size(), " submissions");
  e.command = command, e.options = common.froc();
  Truth truth;
  truth.nodules = read_annotations(annotations);
  if (!excluded.empty()) truth.excluded = read_annotations(excluded);
  if (!seriesuids.empty()) truth.scans = read_seriesuids(seriesuids);
  std::vector<std::vector<Candidate>> marks;
  for (const std::string& path : submissions)
    marks.push_back(read_marks(path, truth.scans, seriesuids, common.ignore_unknown, e.notes));
  if (seriesuids.empty()) {
    std::set<std::string> scans;
    for (const Annotation& nodule : truth.nodules) scans.insert(nodule.seriesuid);
    for (const auto& of_one : marks)
      for (const Candidate& mark : of_one) scans.insert(mark.seriesuid);
    truth.scans.assign(scans.begin(), scans.end());
    e.notes.push_back(text("WITHOUT --seriesuids the scans are the ", scans.size(),
                           " that have a nodule or a mark. Others, without either, are not counted: with them there "
                           "would be fewer false positives a scan, and a higher CPM"));
  }
  note_truth(truth, e.notes);
  const std::set<std::string> scans(truth.scans.begin(), truth.scans.end());
  for (const Annotation& finding : truth.excluded) e.excluded += scans.contains(finding.seriesuid);
  const std::vector<std::string> names = short_names(submissions);
  for (size_t i = 0; i < submissions.size(); i++) e.submissions.push_back(judge(names[i], truth, marks[i], e.options));
  show(e, common);
}

// ---- ./evaluate PREDICTIONS: what ./predict left, against a data set

void judge_predictions(int argc, char** argv, const std::string& command) {
  Common common;
  Config config;
  std::string predictions;
  Settings settings("evaluate",
                    "Judges what ./predict left in a folder (<seriesuid>_mask.mhd, nodules.csv) against the data:\n"
                    "FROC curve and CPM, Dice, IoU, HD95 of each scan, and how far off the marks lie.\n"
                    "Tables alone:  evaluate froc SUBMISSION.csv --annotations A.csv (see evaluate froc --help)");
  settings.add_argument("PREDICTIONS", predictions, "the folder that ./predict wrote");
  settings.add("data", config.data, "the scans in LUNA16 form, with annotations.csv");
  add_cache_settings(settings, config);
  settings.add("input.lungs", config.input_lungs, "as in ./train, whose cache is then used again");
  common.add_settings(settings);
  if (!settings.parse(argc, argv)) return;
  if (config.data.empty()) throw UsageError("--data is missing: the scans in LUNA16 form, with annotations.csv");
  use_threads(common.threads);
  note_signals();
  if (!fs::is_directory(predictions)) fail(predictions, ": no such folder; ./predict makes one");
  const std::string table = predictions + "/nodules.csv";
  if (!fs::exists(table)) fail(table, ": is not there; ./predict writes it, beside the masks");
  const Sources sources = find_sources(config.data);
  if (sources.pairs) fail(config.data, ": holds images and masks; scans in LUNA16 form are judged here");

  Evaluation e;
  e.title = predictions, e.command = command, e.options = common.froc();
  e.notes = sources.warnings;
  std::vector<std::string> all;
  for (const Source& source : sources.list) all.push_back(source.id);
  const std::vector<Candidate> marks = read_marks(table, all, config.data, common.ignore_unknown, e.notes);
  std::set<std::string> marked;
  for (const Candidate& mark : marks) marked.insert(mark.seriesuid);

  Truth truth;
  std::vector<const Source*> judged;
  std::string left_out;
  size_t others = 0, without_mask = 0;
  for (const Source& source : sources.list) {
    const bool has_mask = !mask_of(predictions, source.id).empty();
    if (!has_mask && !marked.contains(source.id)) {
      if (others++ < 10) left_out += " " + source.id;
      continue;
    }
    judged.push_back(&source);
    without_mask += !has_mask;
    truth.scans.push_back(source.id);
    truth.nodules.insert(truth.nodules.end(), source.nodules.begin(), source.nodules.end());
  }
  if (judged.empty()) fail(predictions, ": holds nothing about any of the ", all.size(), " scans in ", config.data);
  if (others > 0)
    e.notes.push_back(text(others, " of ", all.size(),
                           " scans have no prediction and are not counted, as scans or as "
                           "misses:",
                           left_out, others > 10 ? " ..." : ""));
  if (without_mask > 0) e.notes.push_back(text(without_mask, " scans have marks and no mask"));
  truth.excluded = read_excluded(config.data);
  note_truth(truth, e.notes);
  const std::set<std::string> counted(truth.scans.begin(), truth.scans.end());
  for (const Annotation& finding : truth.excluded) e.excluded += counted.contains(finding.seriesuid);
  if (truth.nodules.empty()) {
    e.notes.push_back(
        "no nodule in these scans, so no sensitivity and no FROC curve; masks and false positives are judged");
    e.submissions.push_back({table, match_marks(truth, marks), {}});
  } else {
    e.submissions.push_back(judge(table, truth, marks, e.options));
  }

  const CacheOptions cache = cache_options(config, config.data);
  make_folder(cache.folder);
  {
    Progress progress("masks", int64_t(judged.size()));
    for (const Source* source : judged) {
      e.masks.push_back(judge_mask(*source, mask_of(predictions, source->id), cache));
      for (const std::string& warning : e.masks.back().warnings) e.notes.push_back(source->id + ": " + warning);
      progress.update(int64_t(e.masks.size()));
      quit_if_stopped();
    }
  }
  show(e, common);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    const std::string command = command_line(argc, argv);
    if (argc > 1 && std::string(argv[1]) == "froc")
      judge_tables(argc - 1, argv + 1, command);
    else
      judge_predictions(argc, argv, command);
    return 0;
  });
}
