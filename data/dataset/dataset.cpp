#include "data/dataset/dataset.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

std::string short_hash(const std::string& of) {
  uint64_t hash = 0;
  for (unsigned char c : of) hash = random_bits(hash, c);
  char hex[9];
  std::snprintf(hex, sizeof hex, "%08x", unsigned(hash));
  return hex;
}

// Memory per voxel while a scan is prepared: voxels, labels, and what segmenting the lungs takes.
constexpr int64_t kBytesPerVoxel = 24;

}  // namespace

std::string default_cache(const std::string& folder) {
  const fs::path whole = fs::weakly_canonical(folder);
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  return text("runs/cache/", name, "-", short_hash(whole.string()));
}

std::string identity(const Dataset& dataset) {
  std::string all;
  for (const Scan& scan : dataset.scans) {
    const Grid& grid = scan.image.grid;
    all += text(scan.id, " ", scan.image.channels, " ");
    for (size_t i = 0; i < 3; i++) all += text(grid.size[i], " ", shortest(grid.spacing[i]), " ");
    all += text(scan.labels_hash, "\n");
  }
  return text(counted(dataset.scans.size(), noun_of(dataset.kind)), ", ", short_hash(all));
}

Dataset load_dataset(const std::string& folder, const CacheOptions& options, int64_t memory,
                     const std::function<void(int64_t, int64_t)>& progress,
                     std::vector<std::pair<Source, std::string>>* failed) {
  Sources sources = find_sources(folder);
  const auto n = int64_t(sources.list.size());
  make_folder(options.folder);
  remove_leftovers(options.folder);

  // What has to be prepared, and does the disk have room for it?
  int64_t needed = 0, largest = 1;
  for (const Source& source : sources.list) try {
      if (const int64_t bytes = bytes_to_cache(source, sources.kind, options); bytes > 0) {
        if (__builtin_add_overflow(needed, bytes, &needed)) needed = INT64_MAX / 2;
        largest = std::max(largest, bytes / (options.bytes ? 2 : 3) * kBytesPerVoxel);
      }
    } catch (const Error&) {
      if (!failed) throw;  // otherwise it is reported below
    }
  const auto room = int64_t(std::min<uintmax_t>(fs::space(options.folder).available, INT64_MAX));
  if (needed > room)
    fail(options.folder, ": the cache needs ", (needed >> 20) + 1, " MB more, and the disk has ", room >> 20,
         " MB left; --cache another/folder",
         sources.kind == DataKind::pictures || options.bytes ? "" : ", or --cache_bits 8 for half of it");

  Dataset dataset;
  dataset.kind = sources.kind;
  dataset.warnings = std::move(sources.warnings);
  std::vector<CachedScan> cached(n);
  std::vector<std::string> problems(n);
  int64_t done = 0;
  std::mutex mutex;
  // If memory holds only one scan at a time, all threads work on that one.
  parallel_few(n, std::min(n, memory / largest), [&](int64_t i) {
    try {
      cached[i] = cached_scan(sources.list[i], sources.kind, options);
    } catch (const Error& problem) {
      if (!failed) throw;
      problems[i] = problem.what();
    }
    const std::lock_guard lock(mutex);
    done++;
    if (progress) progress(done, n);
  });

  for (size_t i = 0; i < cached.size(); i++) {
    CachedScan& c = cached[i];
    if (!problems[i].empty()) {
      failed->emplace_back(sources.list[i], problems[i]);
      continue;
    }
    for (const std::string& warning : c.warnings) dataset.warnings.push_back(c.scan.id + ": " + warning);
    dataset.made += c.made;
    dataset.classes = std::max(dataset.classes, c.scan.classes);
    const int64_t channels = dataset.scans.empty() ? c.scan.image.channels : dataset.scans[0].image.channels;
    if (c.scan.image.channels != channels)
      fail(c.scan.path, ": has ", c.scan.image.channels, " channels, ", dataset.scans[0].path, " has ", channels,
           "; all pictures must have as many");
    dataset.scans.push_back(std::move(c.scan));
  }
  return dataset;
}

namespace {

// The patients that --held_out names.
std::set<std::string> held_out_by_name(const std::vector<Scan>& scans, const std::string& held_out) {
  std::set<std::string> held;
  std::istringstream ids(held_out);
  for (std::string part; std::getline(ids, part, ',');) {
    const std::string_view id = trimmed(part);
    if (id.empty()) continue;
    std::set<std::string> found;
    for (const Scan& scan : scans)
      if (scan.id.ends_with(id) || scan.patient.ends_with(id)) found.insert(scan.patient);
    for (const Scan& scan : scans)  // "1" is picture 1, though 11 ends so too
      if (scan.id == id || scan.patient == id) found = {scan.patient};
    if (found.empty()) fail("held out \"", id, "\": no seriesuid ends so; one that is there is ", scans.front().id);
    if (found.size() > 1) fail("held out \"", id, "\": ", found.size(), " seriesuids end so; give more characters");
    held.insert(found.begin(), found.end());
  }
  return held;
}

// The fold of each patient by the data's own subset<number>; empty if a scan lies in none of the folds 0 .. folds-1, if
// a fold is empty, or if a patient is in two.
std::map<std::string, int64_t> own_folds(const std::vector<Scan>& scans, int64_t folds) {
  std::map<std::string, int64_t> fold_of;
  std::set<int64_t> present;
  for (const Scan& scan : scans) {
    int64_t number = -1;
    if (!scan.fold.starts_with("subset") || !parse(scan.fold.substr(6), number) || number < 0 || number >= folds)
      return {};
    if (fold_of.emplace(scan.patient, number).first->second != number) return {};
    present.insert(number);
  }
  return int64_t(present.size()) == folds ? fold_of : std::map<std::string, int64_t>();
}

}  // namespace

Split split_patients(const Dataset& dataset, const SplitOptions& options) {
  const std::vector<Scan>& scans = dataset.scans;
  std::map<std::string, bool> with_nodules;  // by patient
  for (const Scan& scan : scans) with_nodules[scan.patient] |= scan.foreground > 0;
  std::vector<std::string> order;  // the patients, sorted by name, then shuffled
  for (const auto& entry : with_nodules) order.push_back(entry.first);
  Random random(options.seed);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below(int64_t(i))]);
  const auto has_nodules = [&](const std::string& patient) { return with_nodules.at(patient); };

  std::set<std::string> held;
  if (!options.held_out.empty()) {
    held = held_out_by_name(scans, options.held_out);
  } else if (options.folds > 0) {
    check(options.fold >= 0 && options.fold < options.folds, "split: fold ", options.fold, " of ", options.folds,
          "; they count from 0");
    if (options.folds > int64_t(order.size()))
      fail(options.folds, " folds of ", counted(order.size(), "patient"), "; --folds ", order.size(), " at most");
    std::map<std::string, int64_t> fold_of = own_folds(scans, options.folds);
    std::stable_partition(order.begin(), order.end(), has_nodules);
    if (fold_of.empty())
      for (size_t i = 0; i < order.size(); i++) fold_of[order[i]] = int64_t(i) % options.folds;
    for (const auto& [patient, fold] : fold_of)
      if (fold == options.fold) held.insert(patient);
  } else {
    // Of the patients with nodules, one goes to the front, to validate on, and one to the end, to train on. If there is
    // only one, it is for training.
    const bool enough = std::ranges::count_if(order, has_nodules) > 1;
    const auto first = std::ranges::find_if(order, has_nodules);
    if (enough) std::rotate(order.begin(), first, first + 1);
    const auto next = std::find_if(order.begin() + enough, order.end(), has_nodules);
    if (next != order.end()) std::rotate(next, next + 1, order.end());
    const auto wanted = int64_t(std::llround(options.fraction * double(order.size())));
    const int64_t n = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(int64_t(order.size()) - 1, 1));
    held.insert(order.begin(), order.begin() + n);
  }
  Split split;
  for (size_t i = 0; i < scans.size(); i++)
    (held.contains(scans[i].patient) ? split.validation : split.train).push_back(i);
  if (split.train.empty() || split.validation.empty())
    fail("of ", counted(order.size(), "patient"), ", ", split.validation.empty() ? "none" : "all",
         " are held out; at least one is needed to train on and one to validate on");
  return split;
}

}  // namespace acinus
