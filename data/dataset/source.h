// What there is to learn from in a folder, before any of it is read. Two forms are known:
//
//   LUNA16    DIR/annotations.csv                  seriesuid,coordX,coordY,coordZ,diameter_mm
//             DIR/**/<seriesuid>.mhd               the scans (or .mha, .nii, .nii.gz), in subset0..9 or any other
//             folders DIR/readers/<seriesuid>_readers.mhd  optional: how many of four readers outlined each voxel The
//             same with Tianchi's ids (LKDS-00001) and its place for the list, DIR/csv/train/annotations.csv.
//
//   pairs     DIR/images/*, DIR/masks/*            pictures of the same name: .png, .npy, .mhd, .mha, .nii, .nii.gz
//             Of a mask a few other names are understood: <name>_mask, <name>_seg; and nnU-Net's <name>_0000 of an
//             image. Images in one folder below images/ are of one patient: images/anna/1.png, images/anna/2.png.
//
// Links are followed; what is hidden (.name) is passed over.
// LUNA16 has one scan a patient.
#pragma once
#include <string>
#include <vector>

#include "data/volume/annotation.h"

namespace acinus {

struct Source {
  std::string id;          // seriesuid; of a picture its path below images/, without the ending
  std::string patient;     // the seriesuid; or the folder below images/, or the picture itself
  std::string fold;        // the nearest folder above it that is named subset<number>, or ""
  std::string path, mask;  // files; a mask only with pairs, and readers' outlines
  std::vector<Annotation> nodules;
};

struct Sources {
  bool pairs = false;
  std::vector<Source> list;           // by id
  std::vector<std::string> warnings;  // one line each: annotations without a scan, images without a mask, ...
};

// Does the folder hold images/ and masks/, and no annotations, which would come first?
bool holds_pairs(const std::string& folder);
// Throws Error if there is no folder, neither form of data in it, a scan twice, or nothing that belongs together.
Sources find_sources(const std::string& folder);

// What annotations_excluded.csv lists beside annotations.csv: findings that are neither nodules nor mistakes. None
// where there is no such list.
std::vector<Annotation> read_excluded(const std::string& folder);
// All files in and below a folder, by name, but those of lungs and readers, which are called like their scans, and what
// is hidden.
std::vector<std::string> files_below(const std::string& folder);

}  // namespace acinus
