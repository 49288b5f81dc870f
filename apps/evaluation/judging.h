// What ./evaluate reads: marks, looked over for what is wrong with them, and the masks of a folder that ./predict
// wrote.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "apps/evaluation/evaluation.h"
#include "data/dataset/cache.h"

namespace acinus {

// Marks of scans that are not among `scans` (where these are known: not empty) are an Error that says where the first
// stands, unless they are to be ignored. `source` is where the scans are listed, for the message. What else looks odd
// is added to `notes`.
std::vector<Candidate> read_marks(const std::string& path, const std::vector<std::string>& scans,
                                  const std::string& source, bool ignore_unknown, std::vector<std::string>& notes);

// What is odd about nodules and scans taken together.
void note_truth(const Truth& truth, std::vector<std::string>& notes);

// PREDICTIONS/<uid>_mask.mhd (or another ending); "" if there is none.
std::string mask_of(const std::string& predictions, const std::string& uid);
// A predicted mask against the data's own, which is read as for training.
MaskResult judge_mask(const Source& source, const std::string& mask, const CacheOptions& cache);

}  // namespace acinus
