// What networks find in one scan.
//
//   const Prediction found = predict_scan("scan.mhd", networks, options, /*score=*/{}, /*after_slice=*/{});
//   write_prediction(found, "predictions", options);          (apps/prediction/output.h)
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/prediction/segment.h"
#include "data/scoring/candidates.h"

namespace acinus {

struct PredictionOptions {
  SegmentOptions segment;
  double threshold = 0.5;                                       // on the probability, for the mask
  CandidateOptions candidates;                                  // of nodules
  int64_t pictures = 10;                                        // maximum, of the most probable candidates
  bool probability = true;                                      // write <id>_prob.mhd
  std::vector<std::pair<std::string, std::string>> about = {};  // for the page: {"network", its file}
  bool rle = false;  // write <id>_rle.csv: slice,class,rle (data/scoring/rle.h)
};

using Timings = std::vector<std::pair<std::string, double>>;  // {stage, seconds}

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
  Timings timings;
  bool stopped = false;  // by after_slice: the rest is not valid

  int64_t nodules(double threshold) const;  // candidates with a higher probability
};

// A scan's id, after which its results are named: the file's name without its ending.
std::string scan_id(const std::string& path);

// Gives candidates new probabilities: the second network (apps/prediction/classifier.h).
using ScoreCandidates = std::function<void(const ScanView& image, std::vector<Candidate>& candidates)>;

// Reads the scan or picture and runs the networks; if they are restricted to the lungs, finds these first. `score` may be
// empty. after_slice(done, total), if set, returns whether to continue.
Prediction predict_scan(const std::string& path, const std::vector<Segmenter>& networks,
                        const PredictionOptions& options, const ScoreCandidates& score,
                        const std::function<bool(int64_t, int64_t)>& after_slice);

}  // namespace acinus
