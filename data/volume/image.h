// An image in memory, independent of its file's format (data/formats/metaimage.h, nifti.h and picture.h read them).
// The type of its elements is known only at run time; code that wants one type uses a Volume (data/volume/volume.h).
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "data/volume/geometry.h"
#include "tensor/text.h"

namespace acinus {

enum class ElementType { i8, u8, i16, u16, i32, u32, i64, u64, f32, f64 };
int64_t size_of(ElementType type);      // bytes
const char* name_of(ElementType type);  // "int16"

// The ElementType of a C++ type; integers are listed by size, signed before unsigned.
template <class T>
constexpr ElementType element_type = std::is_floating_point_v<T>
                                         ? (sizeof(T) == 4 ? ElementType::f32 : ElementType::f64)
                                         : ElementType(2 * std::countr_zero(sizeof(T)) + std::is_unsigned_v<T>);

// Calls f(T()) with the C++ type of an element.
template <class F>
decltype(auto) with_type(ElementType type, F&& f) {
  using enum ElementType;
  return type == i8    ? f(int8_t())
         : type == u8  ? f(uint8_t())
         : type == i16 ? f(int16_t())
         : type == u16 ? f(uint16_t())
         : type == i32 ? f(int32_t())
         : type == u32 ? f(uint32_t())
         : type == i64 ? f(int64_t())
         : type == u64 ? f(uint64_t())
         : type == f32 ? f(float())
                       : f(double());
}

using Bytes = std::span<const std::byte>;
constexpr bool kNativeBigEndian = std::endian::native == std::endian::big;

// What is known of an image of n dimensions without its values.
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
  std::vector<std::byte> data;  // bytes() of them, in this machine's byte order
};

// A format's names for these, for messages: "FILE: ElementSpacing = 1 0: must be ..."
struct ImageKeys {
  const char *count = "number of dims", *channels = "channels", *dims = "dims", *spacing = "spacing",
             *origin = "origin", *direction = "direction";
};

// Throws unless the image has 1 to 10 dimensions, lists of matching length, finite numbers, spacings above 0, an
// invertible direction and a size in bytes that fits into 64 bits; the second form, unless `data` are that many bytes.
void check_image(const ImageInfo& info, const std::string& path, const ImageKeys& keys = {});
void check_image(const ImageInfo& info, Bytes data, const std::string& path, const ImageKeys& keys = {});

// The position of a volume's voxels. The image must have one channel and 3 dimensions, or 2: then it is one slice at
// z = 0 with spacing 1.
Grid grid_of(const ImageInfo& info, const std::string& path);
ImageInfo info_of(const Grid& grid, ElementType type, int channels = 1);

// Appends values of a file to `to`, in whose memory they fit, converted to T (int16_t, uint8_t or float). Throws if a
// value does not fit T: 12.0 fits int16_t, 12.5 and 40000 do not; double to float rounds.
template <class T>
void append(std::vector<T>& to, ElementType type, Bytes values, const std::string& path);

std::string joined(const auto& numbers) {  // "0.7 0.7 2.5"
  std::string result;
  for (const auto number : numbers) result += text(result.empty() ? "" : " ", shortest(double(number)));
  return result;
}

}  // namespace acinus
