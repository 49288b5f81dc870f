// What ./evaluate reads, measures and shows: tables for the terminal, csv files, and a page.
//
//   Evaluation e;
//   e.submissions.push_back(evaluate_marks("submission.csv", truth, marks, {}));
//   std::printf("%s", froc_text(e).c_str());
//   write_file("evaluation/evaluation.html", evaluation_html(e));
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/dataset/cache.h"
#include "data/scoring/froc.h"

namespace acinus {

struct Submission {
  std::string name;
  Matching matching;
  Froc froc;  // without a curve if there is no nodule
};
Submission evaluate_marks(const std::string& name, const Truth& truth, const std::vector<Candidate>& marks,
                          const FrocOptions& options);

// How well a scan's mask fits the true one.
struct MaskResult {
  std::string id;
  bool has_nodule = false, has_mask = false;   // without a mask nothing below is known
  double dice = 0, iou = 0, hausdorff_mm = 0;  // the last at 95 %; infinity if one of the two masks is empty
  std::vector<std::string> warnings = {};      // about the scan, such as a nodule outside it
};

struct Evaluation {
  std::string title, command;
  std::vector<std::string> notes;  // what a reader has to know to interpret the numbers
  int64_t excluded = 0;            // findings
  std::vector<Submission> submissions;
  std::vector<MaskResult> masks;  // in the order of the only submission's scans; or empty
  FrocOptions options;
};

// ---- localisation errors of the nodules that were hit: mark minus nodule

struct Spread {
  std::string name;                 // "x", "y", "z", "distance", "diameter"
  std::vector<double> errors = {};  // mm
  double mean = 0, deviation = 0;   // of a sample (n - 1); NaN with fewer than two
};
std::vector<Spread> localisation(const std::vector<Hit>& hits);  // without what is unknown, such as diameters

// ---- tables and the page

std::string counts_text(const Evaluation& e);        // scans, nodules, and the outcome of each submission's marks
std::string froc_text(const Evaluation& e);          // sensitivities and CPM; "" if there is no nodule
std::string difference_text(const Evaluation& e);    // each CPM minus that of the first submission
std::string localisation_text(const Evaluation& e);  // "" if no nodule was hit
std::string masks_text(const Evaluation& e);         // a line per scan, and the means
std::string froc_csv(const Evaluation& e);   // submission,false_positives_per_scan,sensitivity,low,high,threshold
std::string scans_csv(const Evaluation& e);  // a line per scan, of a submission with masks
std::string froc_plot(const Evaluation& e);  // as SVG; empty if the scans hold no nodules
std::string evaluation_html(const Evaluation& e);

// ---- what is evaluated (predictions.cpp)

// Marks, with checks for what is likely to be wrong with them. If `scans` is not empty, a mark of any other scan is an
// Error that names its line, unless `ignore_unknown` leaves such marks out. `source`, for the message, is where the scans
// are listed. Other oddities are added to `notes`.
std::vector<Candidate> read_marks(const std::string& path, const std::vector<std::string>& scans,
                                  const std::string& source, bool ignore_unknown, std::vector<std::string>& notes);

// Notes on the nodules and scans taken together; counts the excluded findings of these scans.
void add_truth_notes(const Truth& truth, Evaluation& evaluation);

// PREDICTIONS/<uid>_mask.mhd (or another ending); "" if there is none.
std::string mask_path(const std::string& predictions, const std::string& uid);
// A predicted mask against that of the data, which is read as for training.
MaskResult evaluate_mask(const Source& source, const std::string& mask, const CacheOptions& cache);

}  // namespace acinus
