// NIfTI-1, the format of neuroimaging, which most tools for segmentation write: a header of 348 bytes and the voxels in
// one file, .nii, or the same file through gzip, .nii.gz.
//
//   Image image = read_nifti("scan.nii.gz");
//   write_nifti("copy.nii", image);
//
// For one type of voxels, and for any format: read_volume in data/formats/volume_io.h.
//
// What is used of the header (nifti1.h, https://nifti.nimh.nih.gov/nifti-1; the numbers are in the byte order in which
// sizeof_hdr reads 348):
//
//   offset  type        name
//        0  int32       sizeof_hdr   348
//       40  int16[8]    dim          how many dimensions, 1 to 7, then their sizes, x fastest
//       70  int16       datatype     2 uint8, 4 int16, 8 int32, 16 float32, 64 float64, 256 int8, 512 uint16,
//                                    768 uint32, 1024 int64, 1280 uint64
//       72  int16       bitpix       bits of one value
//       76  float32[8]  pixdim       qfac (see quatern), then the spacing along each dimension
//      108  float32     vox_offset   where the values begin, 352 or more
//      112  float32     scl_slope    value = scl_slope * stored + scl_inter; a slope of 0 (or NaN): value = stored
//      116  float32     scl_inter
//      123  int8        xyzt_units   its lower three bits: 1 metre, 2 millimetre, 3 micrometre, 0 unknown
//      252  int16       qform_code   above 0: quatern and qoffset say where voxels lie
//      254  int16       sform_code   above 0: srow says it, and takes precedence
//      256  float32[3]  quatern      b, c, d of a unit quaternion a + bi + cj + dk: the rotation of the axes; the third
//                                    axis is reversed if qfac is negative
//      268  float32[3]  qoffset      centre of the first voxel
//      280  float32[12] srow         three rows: (x, y, z) = srow * (i, j, k, 1)
//      344  char[4]     magic        "n+1" and a zero
//      348  uint8[4]    extension    first byte not 0: data of other programs follow, up to vox_offset; skipped
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
#include <cstddef>
#include <string>
#include <vector>

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

// All values. T is std::byte: as header.type; or int16_t, uint8_t or float: converted if every value fits (see
// read_volume). Values that need no conversion are never held twice. A CT of int16 with slope 1 and inter -1024 is
// read exactly. Whether the file is compressed follows from its first bytes, not from its name.
template <class T>
void read_values(const NiftiHeader& header, std::vector<T>& to);

// path ends in .nii or .nii.gz. One channel, up to seven dimensions, of which only the first three may be rotated.
void write_nifti(const std::string& path, const Image& image);
void write_nifti(const std::string& path, const ImageInfo& info, const std::byte* data);  // info.bytes() bytes

}  // namespace acinus
