// MetaImage, the format of LUNA16: a short text header and the voxels, in one file (.mha) or two (.mhd + .raw/.zraw).
//
//   MetaImage image = read_metaimage("scan.mhd");
//   write_metaimage("copy.mhd", image, {.compressed = true});       copy.mhd and copy.zraw
//
// For one type of voxels, and for any format: read_volume in data/formats/volume_io.h.
//
// What the header says and how it is understood follows MetaIO, the library inside ITK that defines the format
// (https://itk.org/Wiki/MetaIO/Documentation). Row i of TransformMatrix is the direction of index axis i, see
// data/volume/geometry.h. A data file's name is taken relative to the header's folder unless it is absolute, as MetaIO
// takes it: a header may thus name any file that the user may read.
//
// Unlike MetaIO, this reader refuses what it would have to guess: short data, a corrupt zlib stream, missing slices,
// a spacing of 0. Each refusal is an Error "FILE: KEY = VALUE: what is wrong". No memory is taken for voxels before
// the data files are known to be long enough to hold them.
#pragma once
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "data/volume/image.h"

namespace acinus {

// MET_CHAR .. MET_DOUBLE by their width; MET_LONG is 32 bits wide, as MetaIO has it.
const char* metaimage_name_of(ElementType type);  // "MET_SHORT"

using MetaKeys = std::vector<std::pair<std::string, std::string>>;

struct MetaImage : Image {
  MetaKeys extra;  // keys without a place in ImageInfo or MetaHeader, and their values, in the file's order
};

// A header that was read, and where its values are.
struct MetaHeader : ImageInfo {
  std::string path;
  MetaKeys extra;
  bool binary = true;  // false: the values are numbers in text
  bool big_endian = false;
  bool compressed = false;         // each data file is one zlib (or gzip) stream
  int64_t compressed_size = 0;     // bytes of that stream, 0: as far as the file goes
  int64_t header_size = 0;         // bytes before the values in each data file; -1: the values are its last bytes
  int64_t local_start = 0;         // where the values begin in `path` itself if they are LOCAL, else 0
  std::vector<std::string> files;  // each holds an equal share of the values, in this order
};

struct MetaWriteOptions {
  bool compressed = false;
  // 1 to 9 of zlib. CT noise shrinks little: a scan of 66 MB went to 42.8 MB in 1.1 s at 1, to 41.9 MB in 4.0 s at 6.
  int level = 1;
};

MetaHeader read_metaimage_header(const std::string& path);
MetaImage read_metaimage(const std::string& path);
// Slices [z0, z1) along the last axis, origin moved accordingly, without holding the rest in memory. Compressed
// data before z0 are inflated and dropped.
MetaImage read_slices(const MetaHeader& header, int64_t z0, int64_t z1);

// The values [first, first + count) in the order of memory. T is std::byte; or int16_t, uint8_t or float where that
// is the header's type.
template <class T>
void read_values(const MetaHeader& header, int64_t first, int64_t count, std::vector<T>& to);

// path ends in .mha (one file) or .mhd (the values go beside, to .raw or .zraw). Either all files appear or none:
// each is written beside and renamed, the values first.
void write_metaimage(const std::string& path, const MetaImage& image, const MetaWriteOptions& options = {});

// The same without other keys, from info.bytes() bytes at `data`.
void write_metaimage(const std::string& path, const ImageInfo& info, const std::byte* data,
                     const MetaWriteOptions& options = {});

}  // namespace acinus
