// A data set in numbers: how many scans, how large, how dense (nnU-Net's "data fingerprint"; Isensee et al. 2021).
//
//   const DatasetStatistics s = dataset_statistics(data);
//   s.spacing[2].median;                           2.5      (mm)
//   for (const auto& [name, value] : rows(s))      {"spacing", "x 0.682 to 0.82 mm (median 0.703), ..."}, ...
//
// Sizes, counts and volumes are of all scans. Densities are sampled from at most kSampledSlices slices and as many with
// foreground, evenly spread, so that this takes a second or two however many scans there are.
#pragma once
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset/dataset.h"

namespace acinus {

constexpr int64_t kSampledSlices = 256;

struct Summary {
  double min = 0, median = 0, max = 0;
};
Summary summary_of(std::vector<double> values);  // zeros if there are none
// The values at these ranks, 0 (the smallest) to 1 (the largest); empty if there are no values.
std::vector<double> percentiles(std::vector<double> values, const std::vector<double>& ranks);

constexpr double kDensityRanks[] = {0.005, 0.05, 0.5, 0.95, 0.995};
constexpr double kDiameterRanks[] = {0.05, 0.5, 0.95};
constexpr double kDiameterEdges[] = {4, 6, 8, 10, 15, 20, 30};  // mm, between the bins of the histogram

struct DatasetStatistics {
  std::string identity;  // of the data set (data/dataset/dataset.h)
  DataKind kind = DataKind::ct;
  int64_t patients = 0, scans = 0, slices = 0, voxels = 0, channels = 1;
  std::array<Summary, 3> size, spacing;         // voxels; mm; along x, y, z
  std::map<std::string, int64_t> orientations;  // scans by orientation() (data/volume/geometry.h)
  // At kDensityRanks, in HU (of pictures: their values). Empty if there is no such voxel.
  std::vector<double> everywhere, in_lungs, in_foreground;
  bool lungs_known = false;   // they were segmented
  Summary lungs_ml;           // of the scans in which lungs were found
  int64_t without_lungs = 0;  // scans
  int64_t foreground = 0;     // voxels
  int64_t foreground_slices = 0, foreground_scans = 0;
  std::vector<double> class_fractions, class_ml;  // of classes 1, 2, ...: fraction of the foreground; ml in all scans
  int64_t nodules = 0;                            // annotated, inside their scans
  Summary nodules_per_scan;
  std::vector<double> diameters;       // mm, at kDiameterRanks
  std::array<int64_t, 8> histogram{};  // nodules of < 4, 4 to 6, ..., > 30 mm
};
DatasetStatistics dataset_statistics(const Dataset& dataset);  // Error if there is no scan

// For people: name, and value with its unit. What the data do not have is left out.
std::vector<std::pair<std::string, std::string>> rows(const DatasetStatistics& statistics);
std::string to_text(const DatasetStatistics& statistics);  // the same as a table
std::string to_json(const DatasetStatistics& statistics);  // for programs: every number, its unit in its name

}  // namespace acinus
