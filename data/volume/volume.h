// A scan, a mask or a probability map: voxels on a grid, x fastest.
//   Volume<int16_t> ct: Hounsfield units (air -1000, water 0);  Volume<uint8_t> mask: 0 or 1.
//
//   Volume<int16_t> ct = read_volume<int16_t>("scan.mhd");
//   write_volume("mask.nii.gz", mask);
#pragma once
#include <string>
#include <vector>

#include "data/volume/geometry.h"

namespace acinus {

template <class T>
struct Volume {
  Grid grid;
  std::vector<T> voxels;

  Volume() = default;
  explicit Volume(const Grid& grid, T value = T()) : grid(grid), voxels(size_t(grid.voxels()), value) {}
  T& at(int64_t x, int64_t y, int64_t z) { return voxels[size_t(grid.offset(x, y, z))]; }
  const T& at(int64_t x, int64_t y, int64_t z) const { return voxels[size_t(grid.offset(x, y, z))]; }
  // The z-th slice: size[1] rows of size[0] voxels.
  T* slice(int64_t z) { return voxels.data() + grid.offset(0, 0, z); }
  const T* slice(int64_t z) const { return voxels.data() + grid.offset(0, 0, z); }
};

// ---- files, whose format is told by the name's ending: .mhd .mha (data/formats/metaimage.h) .nii .nii.gz (data/formats/nifti.h)

// T is int16_t, uint8_t or float. The file has one channel and three dimensions, or two: one slice. Other element
// types are converted where every value fits (12.0 into int16_t, not 12.5 or 40000); one that does not is an Error
// that names it. double to float rounds.
template <class T>
Volume<T> read_volume(const std::string& path);
Grid read_grid(const std::string& path);  // of the same file, without its voxels

// A .nii.gz is always compressed, a .nii never; a .mhd or .mha as you say.
template <class T>
void write_volume(const std::string& path, const Volume<T>& volume, bool compressed = false);

inline constexpr const char* kVolumeEndings[] = {".mhd", ".mha", ".nii", ".nii.gz"};
inline constexpr const char* kVolumeEndingsText = ".mhd, .mha, .nii or .nii.gz";  // for messages
// The one that a file's name has, or "": "scan.nii.gz" -> ".nii.gz"
std::string volume_ending(const std::string& path);
// The name without its folder and ending: "/data/1.2.840.nii.gz" -> "1.2.840"
std::string volume_name(const std::string& path);

}  // namespace acinus
