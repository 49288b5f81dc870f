// MetaImage, the format of LUNA16: a short text header and the voxels, in one file (.mha) or two (.mhd + .raw/.zraw).
//
//   Volume<int16_t> ct = read_volume<int16_t>("scan.mhd");          Hounsfield units
//   write_volume("mask.mhd", mask, /* compressed */ true);          mask.mhd and mask.zraw
//
// What the header says and how it is understood follows MetaIO, the library inside ITK that defines the format
// (https://itk.org/Wiki/MetaIO/Documentation). Row i of TransformMatrix is the direction of index axis i, see
// data/geometry.h. A data file's name is taken relative to the header's folder unless it is absolute, as MetaIO
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

#include "data/volume.h"

namespace acinus {

// MET_CHAR .. MET_DOUBLE by their width; MET_LONG is 32 bits wide, as MetaIO has it.
enum class ElementType { i8, u8, i16, u16, i32, u32, i64, u64, f32, f64 };
int64_t size_of(ElementType type);      // bytes
const char* name_of(ElementType type);  // "MET_SHORT"

// Calls f(T()) with the C++ type that holds an element.
template <class F>
decltype(auto) with_type(ElementType type, F&& f) {
  switch (type) {
    case ElementType::i8:
      return f(int8_t());
    case ElementType::u8:
      return f(uint8_t());
    case ElementType::i16:
      return f(int16_t());
    case ElementType::u16:
      return f(uint16_t());
    case ElementType::i32:
      return f(int32_t());
    case ElementType::u32:
      return f(uint32_t());
    case ElementType::i64:
      return f(int64_t());
    case ElementType::u64:
      return f(uint64_t());
    case ElementType::f32:
      return f(float());
    default:
      return f(double());
  }
}

// What an image of n dimensions is, without its values.
struct MetaInfo {
  ElementType type = ElementType::i16;
  int channels = 1;                                        // values per voxel, interleaved
  std::vector<int64_t> dims;                               // n, x fastest
  std::vector<double> spacing;                             // n, mm, > 0
  std::vector<double> origin;                              // n, mm, LPS: centre of the first voxel
  std::vector<double> direction;                           // n*n, row i = direction of index axis i
  std::vector<std::pair<std::string, std::string>> extra;  // other keys and their values, in the file's order

  int64_t values() const;  // product of dims and channels
  int64_t bytes() const { return values() * size_of(type); }
};

struct MetaImage : MetaInfo {
  std::vector<std::byte> data;  // bytes(), in this machine's byte order
};

// A header that was read, and where its values are.
struct MetaHeader : MetaInfo {
  std::string path;
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

// T is int16_t, uint8_t or float. The image has one channel and three dimensions, or two: one slice, z 0 with
// spacing 1. Other element types are converted where every value fits (12.0 into int16_t, not 12.5 or 40000);
// one that does not is an Error that names it. double to float rounds.
template <class T>
Volume<T> read_volume(const std::string& path);
template <class T>
void write_volume(const std::string& path, const Volume<T>& volume, bool compressed = false);

}  // namespace acinus
