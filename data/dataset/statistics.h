// A data set in numbers: how many scans, how large, how dense (nnU-Net's "data fingerprint"; Isensee et al. 2021).
//
//   const DatasetStatistics s = dataset_statistics(data);
//   for (const auto& [name, value] : s.rows)       {"spacing", "x 0.682 to 0.82 (median 0.703), ... mm"}, ...
//   write_file("fingerprint.json", s.json);
//
// Sizes, counts and volumes are of all scans. Densities are sampled from at most 256 slices and as many with foreground,
// evenly spread, so that this takes a second or two however many scans there are.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/dataset/dataset.h"

namespace acinus {

struct Summary {
  double min = 0, median = 0, max = 0;
};
Summary summary_of(std::vector<double> values);  // zeros if there are none

struct DatasetStatistics {
  // For people: name, and value with its unit. What the data do not have is left out.
  std::vector<std::pair<std::string, std::string>> rows;
  std::string json;  // for programs: every number, its unit in its name
};
DatasetStatistics dataset_statistics(const Dataset& dataset);  // Error if there is no scan

std::string to_text(const DatasetStatistics& statistics);  // the rows as a table

}  // namespace acinus
