// A folder of scans or pictures (data/dataset/source.h), ready to train on: each in the cache (data/dataset/cache.h) and
// memory-mapped.
//
//   const Dataset data = load_dataset("LUNA16", {.folder = "runs/cache/LUNA16"});
//   const Split split = split_patients(data, {.fraction = 0.2, .seed = 1});
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset/cache.h"
#include "data/dataset/scan.h"

namespace acinus {

struct Dataset {
  std::vector<Scan> scans;            // by id
  std::vector<std::string> warnings;  // one line each: annotations without a scan, nodules outside theirs, ...
  DataKind kind = DataKind::ct;
  int64_t classes = 1;  // besides the background
  int64_t made = 0;     // scans that were not in the cache, or out of date

  bool is_ct() const { return kind == DataKind::ct; }
};

// Reads what is not in the cache yet, as many scans at once as fit into `memory` bytes. progress(done, total) is called
// after each scan. Throws Error where find_sources does, if a scan cannot be read, and if the disk has less room than the
// cache needs; what has been cached by then stays. If `failed` is given, scans that cannot be read are left out and
// added to it with the reason, by id.
Dataset load_dataset(const std::string& folder, const CacheOptions& options, int64_t memory = int64_t(4) << 30,
                     const std::function<void(int64_t, int64_t)>& progress = {},
                     std::vector<std::pair<Source, std::string>>* failed = nullptr);

// "24 scans, 5d0ce7a3": a hash of the scans' names, sizes and masks.
std::string identity(const Dataset& dataset);

// The default cache of a data folder: runs/cache/<its name>-<hash of its path>
std::string default_cache(const std::string& folder);

struct Split {
  std::vector<size_t> train, validation;  // indices into Dataset::scans
};
struct SplitOptions {
  double fraction = 0.2;        // of the patients is held out, at least one
  std::string held_out = {};    // or these: ids, or their last characters, comma-separated
  int64_t fold = 0, folds = 0;  // or part `fold` of `folds` equal parts
  uint64_t seed = 1;            // of the shuffle
};
// No patient is on both sides. By fraction: if two or more patients have nodules, each side gets at least one of them.
// The folds are the data's own, subset0 .. subset<folds-1>, if each scan lies in one of these; otherwise the patients
// are shuffled and dealt out, those with nodules first. Throws Error if a side is empty.
Split split_patients(const Dataset& dataset, const SplitOptions& options);

}  // namespace acinus
