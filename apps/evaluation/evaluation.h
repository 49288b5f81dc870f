// What ./evaluate found out, and how it is shown: tables for the terminal, csv files, and one page.
//
//   Evaluation e;
//   e.submissions.push_back(judge("submission.csv", truth, marks, {}));
//   std::printf("%s", froc_text(e).c_str());
//   write_file("evaluation/evaluation.html", evaluation_html(e));
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/scoring/froc.h"

namespace acinus {

struct Submission {
  std::string name;
  Matching matching;
  Froc froc;  // without a curve where there is no nodule
};
Submission judge(const std::string& name, const Truth& truth, const std::vector<Candidate>& marks,
                 const FrocOptions& options);

// How well a scan's mask fits the true one.
struct MaskResult {
  std::string id;
  bool has_nodule = false, has_mask = false;   // without a mask nothing below is known
  double dice = 0, iou = 0, hausdorff_mm = 0;  // the last at 95 %; infinity where one of the two masks is empty
  std::vector<std::string> warnings = {};      // about the scan, such as a nodule that lies outside it
};

struct Evaluation {
  std::string title, command;
  std::vector<std::string> notes;  // what a reader has to know to read the numbers right
  int64_t excluded = 0;            // findings
  std::vector<Submission> submissions;
  std::vector<MaskResult> masks;  // as the scans of the one submission; or none
  FrocOptions options;
};

// ---- of the nodules that were met: mark minus nodule

struct Spread {
  std::string name;                // "x", "y", "z", "distance", "diameter"
  std::vector<double> errors;      // mm
  double mean = 0, deviation = 0;  // the latter of a sample (n - 1); NaN with fewer than two
};
std::vector<Spread> localisation(const std::vector<Hit>& hits);  // without what is not known, such as diameters

// ---- tables and the page

std::string counts_text(const Evaluation& e);        // scans, nodules, and what became of each submission's marks
std::string froc_text(const Evaluation& e);          // sensitivities and CPM; "" where there is no nodule
std::string difference_text(const Evaluation& e);    // CPMs minus that of the first submission; "" of one alone
std::string localisation_text(const Evaluation& e);  // "" where no nodule was met
std::string masks_text(const Evaluation& e);         // a line a scan, and the means
std::string froc_csv(const Evaluation& e);   // submission,false_positives_per_scan,sensitivity,low,high,threshold
std::string scans_csv(const Evaluation& e);  // a line a scan, of a submission with masks
std::string evaluation_html(const Evaluation& e);

}  // namespace acinus
