// What networks find in one scan, and the files and the page that people see of it.
//
//   Prediction found = predict_scan("scan.mhd", networks, options, /*score=*/{}, /*after_slice=*/{});
//   write_prediction(found, "predictions", options);          <id>_mask.mhd, <id>_prob.mhd, pictures, <id>.html
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
  double threshold = 0.5;                                       // of the probability, for the mask
  CandidateOptions candidates;                                  // of scans
  int64_t pictures = 10;                                        // at most, of the most probable candidates
  bool probability = true;                                      // write <id>_prob.mhd
  std::vector<std::pair<std::string, std::string>> about = {};  // for the page: {"network", its file}
  bool rle = false;                                             // write <id>_rle.csv: slice,class,rle (data/scoring/rle.h)
};

struct Prediction {
  std::string id, path;  // the file's name without its ending
  bool placed = false;   // a scan, in millimetres; else a picture
  int64_t classes = 1;   // that the networks tell apart, besides the background
  Scan scan;
  HuWindow window;                    // that the networks see
  Volume<uint8_t> mask;               // classes, 0: background
  Volume<float> probability;          // that a voxel is nodule; empty where there are several classes, or a picture
  std::vector<Candidate> candidates;  // the most probable first
  double left_ml = 0, right_ml = 0;   // lungs, where the networks keep to them
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, double>> seconds;  // where the time went, stage by stage

  int64_t nodules(double threshold) const;  // candidates that are more probable
};

// Reads the scan, or picture, and runs the networks. Where the networks keep to the lungs, these are looked for first.
// score(image, candidates), if set, gives the candidates other probabilities. after_slice(done, of) may throw.
Prediction predict_scan(const std::string& path, const std::vector<Segmenter>& networks,
                        const PredictionOptions& options,
                        const std::function<void(const ScanView&, std::vector<Candidate>&)>& score,
                        const std::function<void(int64_t, int64_t)>& after_slice);

// Files in `folder`, which exists, on the scan's own grid: <id>_mask.mhd (of a picture .png), <id>_prob.mhd,
// <id>_candidate1.png ... and <id>.html; without candidates <id>_z<slice>.png of the fullest slices. What an
// earlier prediction of the same scan left, and this one does not write, is removed. Returns their names, without the
// folder.
std::vector<std::string> write_prediction(Prediction& prediction, const std::string& folder,
                                          const PredictionOptions& options);

// A page that lists the scans of a batch, and those that failed with why.
struct BatchRow {
  std::string id, error;  // error: "" if it went well
  bool page = false;      // it has one, with candidates
  std::vector<std::string> warnings = {};
  int64_t nodules = 0, candidates = 0;
  double most_probable = 0, seconds = 0;
};
std::string batch_html(const std::string& title, const std::vector<BatchRow>& rows);

}  // namespace acinus
