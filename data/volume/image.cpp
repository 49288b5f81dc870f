#include "data/volume/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "tensor/check.h"
#include "tensor/memory.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Rows scaled to length 1, then Gaussian elimination: is every pivot clearly off 0?
bool invertible(std::vector<double> m, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double length = 0;
    for (size_t j = 0; j < n; j++) length = std::hypot(length, m[i * n + j]);
    for (size_t j = 0; j < n; j++) m[i * n + j] /= length;
  }
  for (size_t column = 0; column < n; column++) {
    size_t pivot = column;
    for (size_t i = column; i < n; i++)
      if (std::abs(m[i * n + column]) > std::abs(m[pivot * n + column])) pivot = i;
    if (!(std::abs(m[pivot * n + column]) > 1e-6)) return false;
    std::swap_ranges(&m[pivot * n], &m[pivot * n] + n, &m[column * n]);
    for (size_t i = column + 1; i < n; i++) {
      const double factor = m[i * n + column] / m[column * n + column];
      for (size_t j = column; j < n; j++) m[i * n + j] -= factor * m[column * n + j];
    }
  }
  return true;
}

template <class To, class From>
bool fits(From value) {
  if constexpr (std::is_same_v<From, To>)
    return true;
  else if constexpr (std::is_floating_point_v<To> && std::is_floating_point_v<From>)
    return !std::isfinite(value) || std::abs(value) <= double(std::numeric_limits<To>::max());
  else if constexpr (std::is_floating_point_v<To>)
    return std::cmp_less_equal(value, 1 << 24) && std::cmp_greater_equal(value, -(1 << 24));  // exact up to there
  else if constexpr (std::is_floating_point_v<From>)
    return value >= std::numeric_limits<To>::min() && value <= std::numeric_limits<To>::max() &&
           value == std::trunc(value);
  else
    return std::in_range<To>(value);
}

}  // namespace

int64_t size_of(ElementType type) {
  return with_type(type, [](auto t) { return int64_t(sizeof t); });
}

const char* name_of(ElementType type) {
  constexpr const char* names[] = {"int8",   "uint8", "int16",  "uint16",  "int32",
                                   "uint32", "int64", "uint64", "float32", "float64"};
  return names[size_t(type)];
}

int64_t ImageInfo::values() const {
  int64_t product = channels;
  for (int64_t d : dims) product *= d;
  return product;
}

std::string joined(const std::vector<double>& numbers) {
  std::string result;
  for (double x : numbers) result += text(result.empty() ? "" : " ", shortest(x));
  return result;
}

void check_image(const ImageInfo& info, const std::string& path, const ImageKeys& keys) {
  const auto refuse = [&](const char* key, const std::vector<double>& v, const auto&... why) {
    fail(path, ": ", key, " = ", joined(v), ": ", why...);
  };
  const size_t n = info.dims.size();
  if (n < 1 || n > 10) fail(path, ": ", keys.count, " = ", n, ": must be 1 to 10");
  if (info.channels < 1) fail(path, ": ", keys.channels, " = ", info.channels, ": must be at least 1");
  const std::vector<double> sizes(info.dims.begin(), info.dims.end());
  int64_t bytes = info.channels * size_of(info.type);
  for (int64_t d : info.dims) {
    if (d < 1) refuse(keys.dims, sizes, "each size must be at least 1");
    if (__builtin_mul_overflow(bytes, d, &bytes)) refuse(keys.dims, sizes, "more bytes than 64 bits can count");
  }
  const auto finite = [](const std::vector<double>& v) {
    return std::all_of(v.begin(), v.end(), [](double x) { return std::isfinite(x); });
  };
  if (info.spacing.size() != n || !finite(info.spacing) || *std::ranges::min_element(info.spacing) <= 0)
    refuse(keys.spacing, info.spacing, "must be ", n, " finite numbers above 0");
  if (info.origin.size() != n || !finite(info.origin))
    refuse(keys.origin, info.origin, "must be ", n, " finite numbers");
  if (info.direction.size() != n * n || !finite(info.direction))
    refuse(keys.direction, info.direction, "must be ", n * n, " finite numbers");
  if (!invertible(info.direction, n))
    refuse(keys.direction, info.direction, "the matrix is singular: two axes run along the same line");
}

Grid grid_of(const ImageInfo& info, const std::string& path) {
  const size_t n = info.dims.size();
  if (n != 2 && n != 3) fail(path, ": has ", n, " dimensions; a volume has 3, or 2: one slice");
  if (info.channels != 1) fail(path, ": has ", info.channels, " values per voxel; a volume has one");
  Grid grid;
  grid.size[2] = 1;
  for (size_t i = 0; i < n; i++) {
    grid.size[i] = info.dims[i], grid.spacing[i] = info.spacing[i], grid.origin[i] = info.origin[i];
    for (size_t j = 0; j < n; j++) grid.direction[i][j] = info.direction[i * n + j];
  }
  return grid;
}

template <class T>
void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path) {
  try {
    to.clear();
    to.reserve(size_t(count));
    memory::expect_large_pages(to.data(), count * int64_t(sizeof(T)));
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error
    fail(path, ": not enough memory for ", double(count) * sizeof(T) / (1 << 20), " MB");
  }
}

void reverse_bytes(std::byte* data, int64_t count, int64_t size) {
  const auto reverse_each = [&](auto value, auto reversed) {
    for (std::byte* end = data + count * size; data < end; data += size) {
      std::memcpy(&value, data, sizeof value);
      value = reversed(value);
      std::memcpy(data, &value, sizeof value);
    }
  };
  if (size == 2) reverse_each(uint16_t(), [](uint16_t x) { return __builtin_bswap16(x); });
  if (size == 4) reverse_each(uint32_t(), [](uint32_t x) { return __builtin_bswap32(x); });
  if (size == 8) reverse_each(uint64_t(), [](uint64_t x) { return __builtin_bswap64(x); });
}

template <class T>
void convert(const std::string& path, ElementType type, const std::byte* from, int64_t first, int64_t count, T* to) {
  with_type(type, [&](auto value) {
    for (int64_t i = 0; i < count; i++) {
      std::memcpy(&value, from + i * int64_t(sizeof value), sizeof value);
      if (!fits<T>(value))
        fail(path, ": type ", name_of(type), ": the value ", +value, " (number ", first + i, ") does not fit into ",
             name_of(element_type<T>));
      to[i] = T(value);
    }
  });
}

template void reserve_memory(std::vector<std::byte>&, int64_t, const std::string&);
template void reserve_memory(std::vector<int16_t>&, int64_t, const std::string&);
template void reserve_memory(std::vector<uint8_t>&, int64_t, const std::string&);
template void reserve_memory(std::vector<float>&, int64_t, const std::string&);
template void convert(const std::string&, ElementType, const std::byte*, int64_t, int64_t, int16_t*);
template void convert(const std::string&, ElementType, const std::byte*, int64_t, int64_t, uint8_t*);
template void convert(const std::string&, ElementType, const std::byte*, int64_t, int64_t, float*);

}  // namespace acinus
