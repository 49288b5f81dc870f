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
//      254  int16       sform_code   above 0: srow says it, and goes before
//      256  float32[3]  quatern      b, c, d of a unit quaternion a + bi + cj + dk: the rotation of the axes; the third
//                                    axis is turned round if qfac is negative
//      268  float32[3]  qoffset      centre of the first voxel
//      280  float32[12] srow         three rows: (x, y, z) = srow * (i, j, k, 1)
//      344  char[4]     magic        "n+1" and a zero
//      348  uint8[4]    extension    the first one not zero: others' data follow, up to vox_offset; passed over
//
// World coordinates are RAS there (x to the right, y to the front, z to the head) and LPS here: x and y change sign.
// Where neither form is given (method 1 of nifti1.h) no orientation is known: the axes are taken to run along x, y and
// z of LPS from (0,0,0), as ITK takes them. An unknown unit is taken as mm. The direction of an axis is its column of
// srow at length 1, and the column's length its spacing; axes need not be at right angles.
//
// The header's floats have 7 digits: what is written and read again lies where it lay within a millionth or so, not to
// the last bit; written a second time it stays the same.
//
// Refused, with an Error "FILE: FIELD = VALUE: what is wrong": pairs of .hdr and .img, Analyze, NIfTI-2, colours,
// complex numbers, and what one would have to guess.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "data/volume/image.h"

namespace acinus {

// A header that was read. dims has three entries at least, a size of 1 for those that the file lacks; sizes of 1 at
// the end go, if they are beyond the third. Dimensions beyond the third are no places in the body: their origin is 0.
struct NiftiHeader : ImageInfo {  // type: of the values; float64 where they are scaled
  std::string path;
  ElementType stored = ElementType::i16;  // in the file
  double slope = 1, inter = 0;            // value = slope * stored + inter
  bool big_endian = false;
  bool compressed = false;   // told by the first bytes, not by the name
  int64_t vox_offset = 352;  // of the file as it is without gzip

  bool scaled() const { return slope != 1 || inter != 0; }
};

NiftiHeader read_nifti_header(const std::string& path);  // refuses a file that is too short for its values
Image read_nifti(const std::string& path);

// All values. T is std::byte: as header.type; or int16_t, uint8_t or float: converted where every value fits (see
// read_volume). Of values that need no conversion there is never a second copy. A CT of int16 with slope 1 and inter
// -1024 comes back exactly.
template <class T>
void read_values(const NiftiHeader& header, std::vector<T>& to);

// path ends in .nii or .nii.gz. One channel, up to seven dimensions, of which only the first three may be turned.
void write_nifti(const std::string& path, const Image& image);
void write_nifti(const std::string& path, const ImageInfo& info, const std::byte* data);  // info.bytes() bytes

}  // namespace acinus
