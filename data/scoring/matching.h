// Marks and the annotations that they meet, by the rule of LUNA16's evaluation (luna16.grand-challenge.org/Evaluation,
// and its script noduleCADEvaluationLUNA16.py), to the last tie.
//
//   const Truth truth{read_seriesuids("seriesuids.csv"), read_annotations("annotations.csv"),
//                     read_annotations("annotations_excluded.csv")};
//   const Matching m = match_marks(truth, read_candidates("submission.csv"));
//   m.nodules, m.found, m.missed(), m.false_positives
//
// Of a scan with more than 100 marks only those count whose probability is above that of number 101: of equal ones at
// the limit none. A mark meets an annotation if it lies nearer to its centre than half the diameter (10 mm where that
// is unknown, below 0). A nodule that is met is one true positive, with the highest probability of its marks; a mark
// that lies in two nodules finds both. Marks on a nodule are no false positives, nor are those on an excluded finding;
// all others are.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/scoring/candidates.h"
#include "data/volume/annotation.h"

namespace acinus {

struct Truth {
  std::vector<std::string> scans;             // all that were looked at, those without a nodule, too
  std::vector<Annotation> nodules, excluded;  // those of other scans are passed over
};

// A nodule that was met or a false positive: what a FROC curve is made of (data/scoring/froc.h).
struct Outcome {
  size_t scan;  // index into Truth::scans
  double probability;
  bool is_nodule;
};

// A nodule and the most probable mark that met it. No mark is in two of these, nor a nodule.
struct Hit {
  Annotation nodule;
  Candidate mark;
};

struct ScanCount {
  int64_t nodules = 0, found = 0, false_positives = 0;
};

struct Matching {
  std::vector<ScanCount> scans;   // as Truth::scans
  std::vector<Outcome> outcomes;  // scan by scan
  std::vector<Hit> hits;
  int64_t nodules = 0, found = 0, false_positives = 0;  // of all scans
  int64_t marks = 0;                                    // that count
  int64_t beyond = 0;                                   // not among the 100 of their scan
  int64_t elsewhere = 0;                                // in scans that are not in the list
  int64_t doubles = 0;                                  // more than one on a nodule
  int64_t ignored = 0;                                  // on excluded findings, and on no nodule

  int64_t missed() const { return nodules - found; }
};
Matching match_marks(const Truth& truth, const std::vector<Candidate>& marks, int64_t most = 100);

// LUNA16's rule: a place (mm) hits a finding that it is nearer to than half of its diameter; one of unknown diameter
// (-1) counts as 10 mm.
bool hits(const Vec3& place, const Annotation& finding);

// Only marks of a higher probability than this count, of a scan's marks; minus infinity: all.
double counted_above(std::vector<double> probabilities, int64_t most);

}  // namespace acinus
