// An image in memory, whatever format its file has: data/formats/metaimage.h and data/formats/nifti.h read and write these. The
// type of its numbers is known only when the file is read; a program that wants one type takes a Volume
// (data/volume/volume.h).
#pragma once
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "data/volume/geometry.h"

namespace acinus {

enum class ElementType { i8, u8, i16, u16, i32, u32, i64, u64, f32, f64 };
int64_t size_of(ElementType type);      // bytes
const char* name_of(ElementType type);  // "int16"

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

// The types that a Volume may have.
template <class T>
constexpr ElementType element_type = ElementType::f32;
template <>
inline constexpr ElementType element_type<int16_t> = ElementType::i16;
template <>
inline constexpr ElementType element_type<uint8_t> = ElementType::u8;

// What an image of n dimensions is, without its values.
struct ImageInfo {
  ElementType type = ElementType::i16;
  int channels = 1;               // values per voxel, interleaved
  std::vector<int64_t> dims;      // n, x fastest
  std::vector<double> spacing;    // n, mm, > 0
  std::vector<double> origin;     // n, mm, LPS: centre of the first voxel
  std::vector<double> direction;  // n*n, row i = direction of index axis i

  int64_t values() const;  // product of dims and channels
  int64_t bytes() const { return values() * size_of(type); }
};

struct Image : ImageInfo {
  std::vector<std::byte> data;  // bytes(), in this machine's byte order
};

// What a format calls these, for messages: "FILE: ElementSpacing = 1 0: must be ..."
struct ImageKeys {
  const char *count = "number of dims", *channels = "channels", *dims = "dims", *spacing = "spacing",
             *origin = "origin", *direction = "direction";
};

// What must hold of every image, read or to be written: 1 to 10 dimensions, lists of that length, finite numbers, a
// spacing above 0, a direction that can be inverted, and a number of bytes that 64 bits can count.
void check_image(const ImageInfo& info, const std::string& path, const ImageKeys& keys = {});

// Where the voxels of a volume lie: the image has one channel and three dimensions, or two: one slice, z 0 with
// spacing 1.
Grid grid_of(const ImageInfo& info, const std::string& path);

std::string joined(const std::vector<double>& numbers);  // "0.7 0.7 2.5"

// ---- for those who read values

// Empties `to` and takes memory for `count` elements; the Error where it is short names the file.
template <class T>
void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path);

// Between the two byte orders: turns each of `count` elements of `size` bytes round.
void reverse_bytes(std::byte* data, int64_t count, int64_t size);

// Copies `count` elements into T's, where T is int16_t, uint8_t or float and every value fits: 12.0 into int16_t, not
// 12.5 or 40000. One that does not is an Error that names it; from[0] is value number `first` of the file. double
// to float rounds.
template <class T>
void convert(const std::string& path, ElementType type, const std::byte* from, int64_t first, int64_t count, T* to);

}  // namespace acinus
