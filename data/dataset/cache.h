// Scans made ready for training, kept on disk: read once, labelled, written in the order in which slices are drawn, and
// mapped into memory from then on, so that a data set may be larger than the memory.
//
//   Scan scan = cached_scan(source, {.folder = "runs/cache/LUNA16"});     made the first time, mapped afterwards
//
// A cache file is a .safetensors file (tensor/io/safetensors.h), which Python reads too; its data begin on a page of
// memory, at a multiple of 4096:
//
//   slices  I64 (z,3)       of each slice: voxels of foreground, in the lungs, and hard ones (data/dataset/scan.h)
//   image   I16 (z,y,x,c)   HU; or U8: steps of the HU window, half as large. Of pictures: what they hold, or steps
//   labels  U8  (z,y,x)     class, plus 128 in the lungs
//
// A file is used again while nothing has changed of what it was made from: this version of the format, the options,
// the files' sizes and times, the scan's rows of annotations.csv. If anything has, it is made again.
#pragma once
#include <string>
#include <vector>

#include "data/dataset/scan.h"
#include "data/dataset/source.h"
#include "tensor/names.h"

namespace acinus {

enum class MaskSource { automatic, spheres, readers };  // automatic: the readers' outlines where there are any
inline EnumNames<MaskSource> enum_names(MaskSource) {
  return {"kind of masks",
          {{"auto", MaskSource::automatic}, {"spheres", MaskSource::spheres}, {"readers", MaskSource::readers}}};
}

struct CacheOptions {
  std::string folder;  // of the cache
  MaskSource masks = MaskSource::automatic;
  bool lungs = true;   // look for the lungs, in a CT; without, all voxels count as lungs
  bool bytes = false;  // a CT as 8 bits between the ends of `window` instead of 16
  HuWindow window = {};
  std::vector<int64_t> classes = {};  // the values in masks of class 0, 1, ..., such as 0 128 255; {}: see read_mask
};

struct CachedScan {
  Scan scan;
  std::vector<std::string> warnings;  // about the scan, such as "the nodule at ... lies outside"
  bool made = false;                  // just now
};
CachedScan cached_scan(const Source& source, bool pairs, const CacheOptions& options);

// A picture, or a scan, as the network sees that of a pair, from its own file; without labels.
Scan picture_scan(const std::string& path);

// What cached_scan would have to do: bytes on disk; 0 if the file is there and up to date.
int64_t bytes_to_cache(const Source& source, bool pairs, const CacheOptions& options);

}  // namespace acinus
