// What networks find in one scan, and the files and pages that show it.
//
//   Prediction found = predict_scan("scan.mhd", networks, options, /*classifier=*/{}, /*after_slice=*/{});
//   write_prediction(found, "predictions", options);
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/prediction/classifier.h"
#include "apps/prediction/segment.h"
#include "apps/report/html.h"

namespace acinus {

struct PredictionOptions {
  SegmentOptions segment;
  double threshold = 0.5;            // on the probability, for the mask
  CandidateOptions candidates = {};  // of nodules
  int64_t pictures = 10;             // maximum, of the most probable candidates
  bool probability = true;           // write <id>_prob.mhd
  NamedTexts about = {};             // for the page: {"network", its file}
  bool rle = false;                  // write <id>_rle.csv: slice,class,rle (data/scoring/rle.h)
};

struct Prediction {
  std::string id, path;
  bool is_volume = false;    // a file with a grid in millimetres, not a .png or .npy
  bool has_nodules = false;  // the task is to find nodules, not the classes of another task
  int64_t classes = 1;       // of the networks, without the background
  Scan scan;
  HuWindow window;                    // of the networks
  Volume<uint8_t> mask;               // classes; 0: background
  Volume<float> probability;          // that a voxel is nodule; empty unless has_nodules
  std::vector<Candidate> candidates;  // of nodules, the most probable first
  double left_ml = 0, right_ml = 0;   // lungs, if the networks are restricted to them
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, double>> timings;  // {stage, seconds}
  bool stopped = false;                                 // by after_slice: the rest is not valid

  int64_t nodules(double threshold) const;  // candidates with a higher probability
};

// A scan's id, after which its results are named: the file's name without its ending.
std::string scan_id(const std::string& path);

// Reads the scan or picture and runs the networks; if they are restricted to the lungs, finds these first. The
// classifier, if it holds a network, gives the candidates new probabilities. after_slice(done, total), if set, returns
// whether to continue.
Prediction predict_scan(const std::string& path, const std::vector<Segmenter>& networks,
                        const PredictionOptions& options, const LoadedClassifier& classifier,
                        const std::function<bool(int64_t, int64_t)>& after_slice);

// ---- output.cpp

// Writes into the existing `folder`, on the scan's own grid: <id>_mask.mhd (of a picture .png), <id>_prob.mhd,
// <id>_candidate1.png ... and <id>.html; if the task is not to find nodules, <id>_z<slice>.png of the slices with the
// largest foreground. Files of an earlier prediction of the same scan that are not written again are removed. Returns
// the files' names, without the folder, and appends the time it took to the prediction's.
std::vector<std::string> write_prediction(Prediction& prediction, const std::string& folder,
                                          const PredictionOptions& options);

// For the foot of a page.
constexpr const char* kNoDiagnosis = "<p class='soft'>For teaching and research, not for diagnosis.</p>\n";

}  // namespace acinus
