// Points in a scan that look like nodules: the connected components of a probability map.
//
//   const std::vector<Candidate> found = find_candidates(probability, scan.id, {});
//   write_candidates("nodules.csv", found);
#pragma once
#include <string>
#include <vector>

#include "data/volume/volume.h"

namespace acinus {

struct Candidate {
  std::string seriesuid;
  Vec3 centre{};           // mm, LPS
  double diameter_mm = 0;  // of a ball of the same volume; -1: unknown
  double probability = 0;
};

struct CandidateOptions {
  double threshold = 0.1;      // of the probability: voxels above it that touch are one candidate
  double min_diameter_mm = 3;  // of a ball of the same volume; smaller ones are dropped
  int64_t max_count = 100;     // the most probable are kept; LUNA16 counts no more
};

// Components are connected by faces, edges or corners. A candidate's centre is the mean position of its voxels,
// weighted by their probabilities; its probability is the mean over its most probable voxels, as many as fill a nodule
// of min_diameter_mm, so that a single voxel decides little. Sorted, the most probable first.
std::vector<Candidate> find_candidates(const Volume<float>& probability, const std::string& seriesuid,
                                       const CandidateOptions& options);

// ---- tables (data/scoring/candidates_csv.cpp)

// nodules.csv: seriesuid,coordX,coordY,coordZ,diameter_mm,probability
void write_candidates(const std::string& path, const std::vector<Candidate>& candidates);
// Such a table, or a submission to LUNA16 or Tianchi: seriesuid,coordX,coordY,coordZ,probability, with or without a
// header line; with one, the columns may have any order, and others are ignored. A probability may be any number. The
// diameter is -1 where the table has none. `lines`: the line of the file that each was read from.
std::vector<Candidate> read_candidates(const std::string& path, std::vector<int64_t>* lines = nullptr);
// The format of LUNA16 and Tianchi: by scan, the most probable first, and of each scan only those that LUNA16's
// evaluation counts (data/scoring/matching.h), so that the file scores the same as the candidates.
void write_submission(const std::string& path, std::vector<Candidate> candidates, int64_t max_marks = 100);

}  // namespace acinus
