#include "apps/evaluation/evaluation.h"

#include <filesystem>
#include <map>
#include <set>

#include "apps/prediction/segment.h"
#include "data/formats/picture.h"
#include "data/formats/volume_io.h"
#include "data/scoring/surface.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

// Duplicates count in LUNA16's evaluation as in ours: off a nodule, each is another false positive.
void note_duplicates(const std::string& path, const std::vector<Candidate>& marks, const std::vector<int64_t>& lines,
                     std::vector<std::string>& notes) {
  std::map<std::pair<std::string, Vec3>, int64_t> first_line;
  std::string example;
  size_t duplicates = 0;
  for (size_t i = 0; i < marks.size(); i++) {
    const auto [it, is_new] = first_line.emplace(std::pair{marks[i].seriesuid, marks[i].centre}, lines[i]);
    if (!is_new && duplicates++ == 0) example = text("line ", lines[i], " repeats line ", it->second);
  }
  if (duplicates > 0)
    notes.push_back(text(path, ": ", counted(duplicates, "mark"), duplicates == 1 ? " is" : " are",
                         " at the same point as another: ", example, duplicates > 1 ? ", ..." : "",
                         "; each counts, off a nodule as another false positive, as in LUNA16's evaluation"));
}

}  // namespace

std::vector<Candidate> read_marks(const std::string& path, const std::vector<std::string>& scans,
                                  const std::string& source, bool ignore_unknown, std::vector<std::string>& notes) {
  std::vector<int64_t> lines;
  std::vector<Candidate> marks = read_candidates(path, &lines);
  const std::set<std::string> known(scans.begin(), scans.end());
  std::vector<size_t> unknown;
  std::set<std::string> unknown_scans;
  for (size_t i = 0; i < marks.size() && !known.empty(); i++) {
    if (known.contains(marks[i].seriesuid)) continue;
    unknown.push_back(i);
    unknown_scans.insert(marks[i].seriesuid);
  }
  const std::string how_many = text(counted(unknown.size(), "mark"), ", of ", counted(unknown_scans.size(), "scan"));
  if (!unknown.empty() && !ignore_unknown)
    fail(path, ":", lines[unknown[0]], ": the scan ", shown(marks[unknown[0]].seriesuid), " is not in ", source, " (",
         how_many, " in all). Marks of other data? --ignore_unknown leaves them out");
  if (!unknown.empty()) notes.push_back(text(path, ": left out: ", how_many, " not in ", source));
  if (marks.empty()) notes.push_back(text(path, ": holds no marks"));
  note_duplicates(path, marks, lines, notes);
  return marks;
}

void add_truth_notes(const Truth& truth, Evaluation& e) {
  const std::set<std::string> scans(truth.scans.begin(), truth.scans.end());
  for (const Annotation& finding : truth.excluded) e.excluded += scans.contains(finding.seriesuid);
  std::set<std::string> others;
  size_t elsewhere = 0;
  for (const Annotation& a : truth.nodules)
    if (!scans.contains(a.seriesuid)) elsewhere++, others.insert(a.seriesuid);
  if (elsewhere > 0)
    e.notes.push_back(text(counted(elsewhere, "nodule"), " of ", counted(others.size(), "other scan"),
                           elsewhere == 1 ? " is" : " are", " left out"));
  if (truth.excluded.empty())
    e.notes.push_back(
        "no excluded findings are given: marks on what LUNA16 counts neither way are false positives, which lowers the "
        "CPM");
  if (truth.scans.size() < 30)
    e.notes.push_back(text("only ", counted(truth.scans.size(), "scan"),
                           ": the numbers may not carry over to other scans, and the intervals are too narrow"));
}

std::string mask_path(const std::string& predictions, const std::string& uid) {
  for (const char* ending : kVolumeEndings)
    if (const std::string path = predictions + "/" + uid + "_mask" + ending; std::filesystem::exists(path)) return path;
  return "";
}

MaskResult evaluate_mask(const Source& source, const std::string& mask, const CacheOptions& cache) {
  MaskResult result{source.id};
  const CachedScan cached = cached_scan(source, DataKind::ct, cache);
  const Volume<uint8_t> truth = cached.scan.mask();
  result.has_nodule = cached.scan.foreground > 0;
  result.warnings = cached.warnings;
  if (mask.empty()) return result;
  Volume<uint8_t> predicted = read_mask(mask, {});
  check_same_grid(predicted.grid, mask, truth.grid, source.path);
  predicted.grid = truth.grid;  // the same within half a voxel
  result.has_mask = true;
  DiceCount dice(1);
  dice.add(predicted.voxels.data(), truth.voxels.data(), truth.grid.voxels());
  result.dice = dice.dice();
  result.iou = result.dice / (2 - result.dice);  // |A and B| / |A or B|, of the same counts
  result.hausdorff_mm = hausdorff_mm(predicted, truth);
  return result;
}

}  // namespace acinus
