// Places in a scan that look like nodules: the pieces of a map of probabilities, as points in the patient.
//
//   const std::vector<Candidate> found = find_candidates(probability, scan.id, {});
//   write_candidates("nodules.csv", found);                     with diameters
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
  double min_diameter_mm = 3;  // of a ball of the same volume; smaller ones are left out
  int64_t most = 100;          // so many are kept, the most probable; LUNA16 counts no more
};

// Pieces are connected by faces, edges or corners. A candidate's centre is the mean of its voxels' places, weighted
// with their probabilities; its probability is that of its most probable voxels, as many as a nodule of the least
// diameter has, in the mean: one voxel alone decides little. Sorted, the most probable first.
std::vector<Candidate> find_candidates(const Volume<float>& probability, const std::string& seriesuid,
                                       const CandidateOptions& options);

// ---- tables of them (data/scoring/candidates_csv.cpp)

// nodules.csv: seriesuid,coordX,coordY,coordZ,diameter_mm,probability
void write_candidates(const std::string& path, const std::vector<Candidate>& candidates);
// Such a table, or a submission to LUNA16 or Tianchi: seriesuid,coordX,coordY,coordZ,probability, with or without a
// line of names; with one, the columns may stand in any order, and others are passed over. A probability may be any
// number. The diameter is -1 where there is none. `lines`: where in the file each stands.
std::vector<Candidate> read_candidates(const std::string& path, std::vector<int64_t>* lines = nullptr);
// What LUNA16 and Tianchi take: by scan, the most probable first, and of each scan no more than LUNA16's evaluation
// counts (data/scoring/matching.h), so that the file is worth as much as the candidates are.
void write_submission(const std::string& path, std::vector<Candidate> candidates, int64_t most = 100);

}  // namespace acinus
