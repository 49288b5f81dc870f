// Reads what ./evaluate is given: marks, with checks for what is likely to be wrong with them, and the masks in a folder
// that ./predict wrote.
#pragma once
#include <string>
#include <vector>

#include "apps/evaluation/evaluation.h"
#include "data/dataset/cache.h"

namespace acinus {

// If `scans` is not empty, a mark of any other scan is an Error that names its line, unless `ignore_unknown` leaves such
// marks out. `source`, for the message, is where the scans are listed. Other oddities are added to `notes`.
std::vector<Candidate> read_marks(const std::string& path, const std::vector<std::string>& scans,
                                  const std::string& source, bool ignore_unknown, std::vector<std::string>& notes);

// Notes on the nodules and scans taken together; counts the excluded findings of these scans.
void add_truth_notes(const Truth& truth, Evaluation& evaluation);

// PREDICTIONS/<uid>_mask.mhd (or another ending); "" if there is none.
std::string mask_path(const std::string& predictions, const std::string& uid);
// A predicted mask against that of the data, which is read as for training.
MaskResult evaluate_mask(const Source& source, const std::string& mask, const CacheOptions& cache);

}  // namespace acinus
