// Matches marks with annotations exactly as LUNA16's evaluation does (luna16.grand-challenge.org/Evaluation and its
// script noduleCADEvaluationLUNA16.py, quoted here), ties included.
//
//   const Truth truth{read_seriesuids("seriesuids.csv"), read_annotations("annotations.csv"),
//                     read_annotations("annotations_excluded.csv")};
//   const Matching m = match_marks(truth, read_candidates("submission.csv"));
//   m.nodules, m.found, m.missed(), m.false_positives
//
//   hit        "A nodule is marked as detected when the center of mass of the candidate is within a distance R of the
//              center of the nodule. [...] we set R to be the radius of the nodule size": dist < radiusSquared, and
//              "if diameter < 0.0: diameter = 10.0". A mark that lies in two nodules finds both.
//   outcome    "append the sample with the highest probability for the FROC analysis": a nodule is one true positive,
//              with the highest probability of its marks; further marks on it are no false positives.
//   excluded   "delete marks on excluded nodules so they don't count as false positives"
//   at most    100 marks a scan, the most suspicious: those whose probability is above that of mark 101. So of marks
//              that are equal at the limit none is kept.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/scoring/candidates.h"
#include "data/volume/mask.h"

namespace acinus {

struct Truth {
  std::vector<std::string> scans;             // all that were examined, including those without a nodule
  std::vector<Annotation> nodules, excluded;  // those of other scans are ignored
};

// A nodule that was hit or a false positive: what a FROC curve is made of (data/scoring/froc.h).
struct Outcome {
  size_t scan;  // index into Truth::scans
  double probability;
  bool is_nodule;
};

// A nodule and the most probable mark on it. Each nodule and each mark is in one Hit at most.
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
  int64_t dropped = 0;                                  // not among the 100 of their scan
  int64_t unlisted = 0;                                 // in scans that are not in the list
  int64_t duplicates = 0;                               // further marks on a nodule
  int64_t ignored = 0;                                  // on excluded findings, and on no nodule

  int64_t missed() const { return nodules - found; }
};
Matching match_marks(const Truth& truth, const std::vector<Candidate>& marks, int64_t max_marks = 100);

// The rule for one mark at a point (mm): nearer to the finding's centre than radius_mm, half the diameter, or 5 mm
// where that is unknown (-1).
bool hits(const Vec3& point, const Annotation& finding);
double radius_mm(const Annotation& finding);

// Of a scan's marks, only those of a higher probability than this count; minus infinity: all.
double counted_above(std::vector<double> probabilities, int64_t max_marks);

}  // namespace acinus
