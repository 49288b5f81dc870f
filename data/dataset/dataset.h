// A folder of scans or pictures (data/dataset/source.h), ready to train on: each in the cache (data/dataset/cache.h), mapped into
// memory.
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
  bool pairs = false;                 // of images/ and masks/
  int64_t classes = 1;                // besides the background
  int64_t made = 0;                   // scans that were not in the cache yet, or no longer up to date
};

// Reads what is not in the cache yet, several scans at once, as many as `memory` bytes hold. progress(done, of) is
// called after each scan. Throws Error where find_sources does, if a scan cannot be read, and if the disk has less room
// than the cache needs. What has been cached until then stays. Where `failed` is given, scans that cannot be read are
// left out, and why is added to it, by id.
Dataset load_dataset(const std::string& folder, const CacheOptions& options, int64_t memory = int64_t(4) << 30,
                     const std::function<void(int64_t, int64_t)>& progress = {},
                     std::vector<std::pair<Source, std::string>>* failed = nullptr);

// "24 scans, 5d0ce7a3": another text, but for odd chances, where the scans, their sizes or their masks are others.
std::string identity(const Dataset& dataset);

// Where the cache of a data folder lies unless one says otherwise: runs/cache/<its name>-<hash of its place>
std::string default_cache(const std::string& folder);

struct Split {
  std::vector<size_t> train, validation;  // indices into Dataset::scans
};
struct SplitOptions {
  double fraction = 0.2;        // of the patients is held out, at least one
  std::string held_out = {};    // or these: ids, or their last characters, parted by commas
  int64_t fold = 0, folds = 0;  // or, of `folds` equal parts, part `fold`
  uint64_t seed = 1;            // of the shuffle
};
// No patient is on both sides. Of a fraction: where two or more have nodules, one of these at least is on either side.
// The folds are the data's own, subset0 .. subset<folds-1>, where each scan lies in one of those; else the patients are
// shuffled and dealt out, those with nodules first.
Split split_patients(const Dataset& dataset, const SplitOptions& options);

}  // namespace acinus
