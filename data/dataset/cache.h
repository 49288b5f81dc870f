// Scans prepared for training, cached on disk: read and labelled once, and memory-mapped from then on, so that a data set
// may be larger than the memory.
//
//   Scan scan = cached_scan(source, DataKind::ct, {.folder = "runs/cache/LUNA16"}).scan;    prepared the first time
//
// A cache file is a .safetensors file (tensor/io/safetensors.h), which Python reads too; its data begin on a memory page,
// at a multiple of 4096:
//
//   slices  I64 (z,3)       of each slice: voxels of foreground, in the lungs, and hard ones (data/dataset/scan.h)
//   image   I16 (z,y,x,c)   HU; or U8, half as large: steps of the HU window. Of pictures: their values, or steps
//   labels  U8  (z,y,x)     class, plus 128 in the lungs
//
// A file is reused until something that it depends on changes: the version of the format, the options, the files' sizes
// and times, the scan's rows of annotations.csv.
#pragma once
#include <string>
#include <vector>

#include "data/dataset/scan.h"
#include "data/dataset/source.h"
#include "tensor/text.h"

namespace acinus {

enum class MaskSource { automatic, spheres, readers };  // automatic: the readers' outlines where there are any
inline EnumNames<MaskSource> enum_names(MaskSource) {
  return {"kind of masks",
          {{"auto", MaskSource::automatic}, {"spheres", MaskSource::spheres}, {"readers", MaskSource::readers}}};
}

struct CacheOptions {
  std::string folder;  // of the cache
  MaskSource masks = MaskSource::automatic;
  bool lungs = true;   // segment the lungs of a CT; otherwise all voxels count as lungs
  bool bytes = false;  // store a CT as 8 bits between the ends of `window`, not 16
  HuWindow window = {};
  std::vector<int64_t> classes = {};  // the values in masks of class 0, 1, ..., such as 0 128 255; {}: see read_mask
};

struct CachedScan {
  Scan scan;
  std::vector<std::string> warnings;  // about the scan, such as "the nodule at ... lies outside"
  bool made = false;                  // it was not in the cache yet
};
CachedScan cached_scan(const Source& source, DataKind kind, const CacheOptions& options);

// A picture, or a volume treated as one, from its file; without labels.
Scan picture_scan(const std::string& path);

// The bytes that cached_scan would write; 0 if the file exists and is up to date.
int64_t bytes_to_cache(const Source& source, DataKind kind, const CacheOptions& options);

}  // namespace acinus
