// The files and pages that show what was found in scans.
#pragma once
#include <string>
#include <vector>

#include "apps/prediction/prediction.h"

namespace acinus {

struct WrittenFiles {
  std::vector<std::string> names;  // without the folder
  double seconds = 0;              // that writing took
};
// Writes into the existing `folder`, on the scan's own grid: <id>_mask.mhd (of a picture .png), <id>_prob.mhd,
// <id>_candidate1.png ... and <id>.html; if the task is not to find nodules, <id>_z<slice>.png of the slices with the
// largest foreground. Files of an earlier prediction of the same scan that are not written again are removed.
WrittenFiles write_prediction(const Prediction& prediction, const std::string& folder,
                              const PredictionOptions& options);

// A row of the page that lists the scans of a batch.
struct BatchRow {
  std::string id, error;     // error: why it failed; "" if it did not
  bool has_nodules = false;  // the scan has a page, with candidates
  std::vector<std::string> warnings = {};
  int64_t nodules = 0, candidates = 0;
  double most_probable = 0, seconds = 0;
};
std::string batch_html(const std::string& title, const std::vector<BatchRow>& rows);

}  // namespace acinus
