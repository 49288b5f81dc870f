// What can be wrong with data, a batch, a network's outputs, a run or a prediction, and what to do about it. ./doctor
// prints these findings; ./train runs the same checks on its data and its first results.
//
//   for (const Finding& f : check_data(data)) std::printf("%s", shown(f).c_str());
//     ✗ 14 of 15 annotated centres lie outside their scan or are not denser than their surroundings; if the signs of x
//       and y are changed, 14 are denser
//       → the list is in RAS (NIfTI, 3D Slicer), LUNA16 is in LPS: negate coordX and coordY
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "apps/common/config.h"
#include "apps/report/report.h"
#include "data/dataset/dataset.h"

namespace acinus {

// A note is not a fault. A warning may be right in rare data. An error never is.
enum class Level { note, warning, error };

struct Finding {
  Level level = Level::note;
  std::string what, cure;  // what it is, with numbers and names; what to do about it, or ""
};

struct Findings : std::vector<Finding> {
  void add(Level level, std::string what, std::string cure) { push_back({level, std::move(what), std::move(cure)}); }
  void error(std::string what, std::string cure) { add(Level::error, std::move(what), std::move(cure)); }
  void warning(std::string what, std::string cure) { add(Level::warning, std::move(what), std::move(cure)); }
  void note(std::string what, std::string cure) { add(Level::note, std::move(what), std::move(cure)); }
  void append(const Findings& more) { insert(end(), more.begin(), more.end()); }
  bool has_errors() const;
};

std::string shown(const Finding& finding);     // two lines, in colours on a terminal
std::string one_line(const Finding& finding);  // for Report::findings
std::string tally(const Findings& findings);   // "2 findings: 1 error, 1 note"

// ---- checks

// Files that could not be read (load_dataset's `failed`), grouped by what is wrong with them.
Findings check_failures(const std::vector<std::pair<Source, std::string>>& failed);
// Encodings, densities, spacings, the positions of nodules, duplicates, names. Looks at three slices of each scan.
Findings check_data(const Dataset& data);
Findings check_split(const Dataset& data, const Split& split);

// Patches from the sampler: x in 0..1, t of 0 and 1. Takes about 32, since a few may well hold no nodule.
Findings check_batch(const Tensor& x, const Tensor& t, const Config& config);

// What a network predicts on held-out scans.
struct Outputs {
  double voxels = 0, lung_voxels = 0, true_voxels = 0;  // in these scans
  double lowest = 1, highest = 0;                       // probability, where nodules may be predicted
  double mean_probability = 0;
  double predicted_share = 0;  // of all voxels: those predicted to be nodule,
  double extreme_share = 0;    // and those with a probability below 1e-6 or above 1 - 1e-6
  double dice = 0;
};
Findings check_outputs(const Outputs& outputs, const Config& config);
// The metrics of the epochs so far.
Findings check_rows(const std::vector<EpochRow>& rows, const Config& config);

// The folder of a run, without its data: metrics.csv and the networks. Its settings are read first; the findings say why
// they could not be.
Findings read_config(const std::string& folder, Config& config);
Findings check_run(const std::string& folder, const Config& config);

// A mask, or what is meant to be one, on the grid of its scan; annotations.csv may be "".
Findings check_prediction(const std::string& mask, const std::string& scan, const std::string& annotations);

}  // namespace acinus
