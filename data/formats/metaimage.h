// MetaImage, the format of LUNA16: a short text header and the voxels, in one file (.mha) or two (.mhd and .raw/.zraw).
//
//   MetaImage image = read_metaimage("scan.mhd");
//   write_metaimage("copy.mhd", image, image.data, /*compressed=*/true);        copy.mhd and copy.zraw
//
// For one type of voxels, and for any format: read_volume in data/formats/volume_io.h.
//
// The header's keys are interpreted as by MetaIO, the library inside ITK that defines the format
// (https://itk.org/Wiki/MetaIO/Documentation). Row i of TransformMatrix is the direction of index axis i, see
// data/volume/geometry.h. The name of a data file is relative to the header's folder unless it is absolute, as in
// MetaIO: a header may thus name any file that the user may read.
//
// Unlike MetaIO, this reader refuses what it would have to guess: short data, a corrupt zlib stream, missing slices,
// a spacing of 0. Messages are "FILE: KEY = VALUE: what is wrong". No memory is allocated for voxels before the data
// files are known to be long enough to hold them.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/formats/byte_source.h"
#include "data/volume/image.h"

namespace acinus {

const char* metaimage_name_of(ElementType type);  // "MET_SHORT". MET_LONG, on reading, has 32 bits as in MetaIO

using MetaKeys = std::vector<std::pair<std::string, std::string>>;

struct MetaImage : Image {
  MetaKeys extra;  // all keys not stored in ImageInfo or MetaHeader, in the file's order
};

// A header as read, and where its values are.
struct MetaHeader : ImageInfo {
  std::string path;
  MetaKeys extra;
  bool binary = true;  // false: the values are text
  bool big_endian = false;
  bool compressed = false;         // each data file is one zlib (or gzip) stream
  int64_t compressed_size = 0;     // bytes of that stream, 0: up to the end of the file
  int64_t header_size = 0;         // bytes before the values in each data file; -1: the values are its last bytes
  int64_t local_start = 0;         // offset of the values in `path` itself if they are LOCAL, else 0
  std::vector<std::string> files;  // each holds an equal share of the values, in this order
};

MetaHeader read_metaimage_header(const std::string& path);
MetaImage read_metaimage(const std::string& path);
// Slices [z0, z1) along the last axis, with the origin moved accordingly. The rest is never held in memory; compressed
// data before z0 are inflated and discarded.
MetaImage read_slices(const MetaHeader& header, int64_t z0, int64_t z1);

// Passes on the values [first, first + count) in file order, as header.type.
void read_values(const MetaHeader& header, int64_t first, int64_t count, const ByteSink& sink);

// path ends in .mha (one file) or .mhd (the values go to .raw or .zraw in the same folder). Each file is written under a
// temporary name and renamed when complete, the values first.
void write_metaimage(const std::string& path, const ImageInfo& info, Bytes data, bool compressed = false,
                     const MetaKeys& extra = {});

}  // namespace acinus
