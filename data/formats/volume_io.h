// Volumes in files, whose format follows from the name: .mhd and .mha (data/formats/metaimage.h), .nii and .nii.gz
// (data/formats/nifti.h).
//
//   Volume<int16_t> ct = read_volume<int16_t>("scan.mhd");
//   write_volume("mask.nii.gz", mask);
#pragma once
#include <string>

#include "data/volume/volume.h"

namespace acinus {

// T is int16_t, uint8_t or float. The file has one channel and three dimensions, or two: then it is one slice. Elements
// of other types are converted if every value fits (12.0 into int16_t, but not 12.5 or 40000); otherwise an Error names
// one that does not. double to float rounds.
template <class T>
Volume<T> read_volume(const std::string& path);
Grid read_grid(const std::string& path);  // of the same file, without reading its voxels

// .nii.gz is always compressed, .nii never; .mhd and .mha if `compressed`.
template <class T>
void write_volume(const std::string& path, const Volume<T>& volume, bool compressed = false);

inline constexpr const char* kVolumeEndings[] = {".mhd", ".mha", ".nii", ".nii.gz"};
inline constexpr const char* kVolumeEndingsText = ".mhd, .mha, .nii or .nii.gz";  // for messages
// "scan.nii.gz" -> ".nii.gz"; "" if the name has none of these endings
std::string volume_ending(const std::string& path);
// The name without folder and ending: "/data/1.2.840.nii.gz" -> "1.2.840"
std::string volume_name(const std::string& path);

}  // namespace acinus
