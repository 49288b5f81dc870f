// NIfTI-1, the format of neuroimaging, which most tools for segmentation write: a header of 348 bytes and the voxels in
// one file, .nii, or the same file through gzip, .nii.gz.
//
//   Image image = read_nifti("scan.nii.gz");
//   write_nifti("copy.nii", image);
//
// For one type of voxels, and for any format: read_volume in data/formats/volume_io.h.
//
// The header's fields that are used are listed in data/formats/nifti.cpp.
//
// NIfTI's world coordinates are RAS (x to the right, y to the front, z to the head), ours are LPS: x and y change sign.
// Without qform and sform (method 1 of nifti1.h) the orientation is unknown: like ITK, we let the axes run along x, y
// and z of LPS from (0,0,0). An unknown unit is taken as mm. Column i of srow is direction i times spacing i; axes need
// not be at right angles.
//
// The header's floats have 7 digits: a position that is written and read again changes by about a millionth; written a
// second time it no longer changes.
//
// Refused, with an Error "FILE: FIELD = VALUE: what is wrong": pairs of .hdr and .img, Analyze, NIfTI-2, colours,
// complex numbers, and whatever would require guessing.
#pragma once
#include <string>

#include "data/formats/byte_source.h"
#include "data/volume/image.h"

namespace acinus {

// A header as read. dims has at least three entries, of size 1 where the file has fewer; trailing sizes of 1 beyond the
// third are dropped. Dimensions beyond the third are not spatial: their origin is 0.
struct NiftiHeader : ImageInfo {  // type: of the values; float64 where they are scaled
  std::string path;
  ElementType stored = ElementType::i16;  // in the file
  double slope = 1, inter = 0;            // value = slope * stored + inter
  bool big_endian = false;
  int64_t vox_offset = 352;  // after decompression

  bool scaled() const { return slope != 1 || inter != 0; }
};

NiftiHeader read_nifti_header(const std::string& path);  // refuses a file that is too short for its values
Image read_nifti(const std::string& path);

// Passes on all values, as header.type. Whether the file is compressed follows from its first bytes, not from its name.
void read_values(const NiftiHeader& header, const ByteSink& sink);

// path ends in .nii or .nii.gz. One channel, up to seven dimensions, of which only the first three may be rotated.
void write_nifti(const std::string& path, const ImageInfo& info, Bytes data);

}  // namespace acinus
