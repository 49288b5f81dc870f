// What there is in a data set, in numbers: how many, how large, how dense. (nnU-Net calls this the data set's
// fingerprint; Isensee et al. 2021.)
//
//   const Fingerprint print = fingerprint(data);
//   print.spacing[2].median;                       2.5      (mm)
//   for (const auto& [what, value] : rows(print))  {"spacing", "x 0.682 to 0.82 mm (median 0.703), ..."}, ...
//
// Sizes, counts and volumes are of all scans. Densities come from at most kSampledSlices slices and as many with
// foreground, evenly spread, so that it takes a second or two however many scans there are.
#pragma once
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset/dataset.h"

namespace acinus {

constexpr int64_t kSampledSlices = 256;

struct Spread {
  double least = 0, median = 0, most = 0;
};
Spread spread_of(std::vector<double> values);  // of none: zeros
// The values below which these shares of all lie, 0..1; empty if there are no values.
std::vector<double> percentiles(std::vector<double> values, const std::vector<double>& shares);

constexpr double kDensityShares[] = {0.005, 0.05, 0.5, 0.95, 0.995};
constexpr double kDiameterShares[] = {0.05, 0.5, 0.95};
constexpr double kDiameterEdges[] = {4, 6, 8, 10, 15, 20, 30};  // mm, between the bins of the histogram

struct Fingerprint {
  std::string identity;  // of the data set (data/dataset/dataset.h)
  bool pairs = false;    // of images/ and masks/
  int64_t patients = 0, scans = 0, slices = 0, voxels = 0, channels = 1;
  std::array<Spread, 3> size, spacing;          // voxels; mm; along x, y, z
  std::map<std::string, int64_t> orientations;  // scans by orientation() (data/volume/geometry.h)
  // Percentiles kDensityShares, in HU (of pictures: their values). Empty where there is no such voxel.
  std::vector<double> everywhere, in_lungs, in_foreground;
  bool lungs_known = false;   // they were looked for
  Spread lungs_ml;            // of the scans in which some were found
  int64_t without_lungs = 0;  // scans
  int64_t foreground = 0;     // voxels
  int64_t foreground_slices = 0, foreground_scans = 0;
  std::vector<double> class_share, class_ml;  // of classes 1, 2, ...: share of all foreground; ml of all scans together
  int64_t nodules = 0;                        // annotated, inside their scans
  Spread nodules_a_scan;
  std::vector<double> diameters;       // mm, percentiles kDiameterShares
  std::array<int64_t, 8> histogram{};  // nodules of < 4, 4 to 6, ..., > 30 mm
};
Fingerprint fingerprint(const Dataset& dataset);

// For people: what, and how much with its unit. What the data do not have is left out.
std::vector<std::pair<std::string, std::string>> rows(const Fingerprint& print);
std::string to_text(const Fingerprint& print);  // the same as a table
std::string to_json(const Fingerprint& print);  // for programs: every number, under a name that says its unit

}  // namespace acinus
