// Lists the scans or pictures of a data folder, before any of them is read. A folder holds one of two kinds:
//
//   CT        DIR/annotations.csv                          seriesuid,coordX,coordY,coordZ,diameter_mm
//   (LUNA16)  DIR/**/<seriesuid>.mhd                       or .mha, .nii, .nii.gz; in subset0..9 or any other folders
//             DIR/readers/<seriesuid>_readers.mhd          optional: how many of four readers outlined each voxel
//             Also Tianchi's ids (LKDS-00001) and its DIR/csv/train/annotations.csv. One scan per patient.
//
//   pictures  DIR/images/<name>, DIR/masks/<name>          .png, .npy, .mhd, .mha, .nii, .nii.gz
//             A mask may also be called <name>_mask or <name>_seg, an image <name>_0000 (nnU-Net). Images in one folder
//             below images/ are of one patient: images/anna/1.png, images/anna/2.png.
//
// Links are followed; hidden files (.name) are ignored.
#pragma once
#include <string>
#include <vector>

#include "data/volume/mask.h"

namespace acinus {

enum class DataKind {
  ct,       // scans in HU with a list of nodules
  pictures  // images with a mask each
};
// For messages.
inline const char* noun_of(DataKind kind) { return kind == DataKind::ct ? "scan" : "picture"; }
inline const char* foreground_of(DataKind kind) { return kind == DataKind::ct ? "nodules" : "foreground"; }

struct Source {
  std::string id;          // seriesuid; of a picture its path below images/, without the ending
  std::string patient;     // the seriesuid; or the folder below images/, or the picture itself
  std::string fold;        // the nearest folder above it that is named subset<number>, or ""
  std::string path, mask;  // files; the mask of a picture, or the readers' outlines of a CT, or ""
  std::vector<Annotation> nodules;
};

struct Sources {
  DataKind kind = DataKind::ct;
  std::vector<Source> list;           // by id
  std::vector<std::string> warnings;  // one line each: annotations without a scan, images without a mask, ...
};

// True if the folder holds images/ and masks/ and no annotations, which take precedence.
bool holds_pictures(const std::string& folder);
// Throws Error if there is no such folder, neither kind of data in it, a scan twice, or nothing that belongs together.
Sources find_sources(const std::string& folder);

// The rows of annotations_excluded.csv next to annotations.csv: findings that count neither as nodules nor as errors.
// Empty if there is no such file.
std::vector<Annotation> read_excluded(const std::string& folder);
// All files in and below a folder, by name, except hidden ones and those of lungs and readers, which have their scans'
// names.
std::vector<std::string> files_below(const std::string& folder);

}  // namespace acinus
