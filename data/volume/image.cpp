#include "data/volume/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Are all pivots of the matrix, its rows scaled to length 1, clearly different from 0?
// (Gaussian elimination, which takes the largest of each column.)
bool invertible(std::vector<double> m, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    double length = 0;
    for (int64_t k = 0; k < n; k++) length = std::hypot(length, m[i * n + k]);
    for (int64_t k = 0; k < n; k++) m[i * n + k] /= length > 0 ? length : 1;
  }
  for (int64_t column = 0; column < n; column++) {
    int64_t best = column;
    for (int64_t i = column; i < n; i++)
      if (std::abs(m[i * n + column]) > std::abs(m[best * n + column])) best = i;
    const double pivot = m[best * n + column];
    if (!(std::abs(pivot) > 1e-6)) return false;
    std::swap_ranges(&m[best * n], &m[best * n] + n, &m[column * n]);
    for (int64_t i = column + 1; i < n; i++) {
      const double factor = m[i * n + column] / pivot;
      for (int64_t k = column; k < n; k++) m[i * n + k] -= factor * m[column * n + k];
    }
  }
  return true;
}

template <class To, class From>
bool fits(From value) {
  if constexpr (std::is_floating_point_v<To> && std::is_floating_point_v<From>)
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
  return names[int(type)];
}

int64_t ImageInfo::values() const {
  int64_t product = channels;
  for (int64_t d : dims) product *= d;
  return product;
}

void check_image(const ImageInfo& info, const std::string& path, const ImageKeys& keys) {
  const auto refuse = [&](const char* key, const auto& values, const auto&... why) {
    fail(path, ": ", key, " = ", joined(values), ": ", why...);
  };
  const size_t n = info.dims.size();
  if (n < 1 || n > 10) fail(path, ": ", keys.count, " = ", n, ": must be 1 to 10");
  if (info.channels < 1) fail(path, ": ", keys.channels, " = ", info.channels, ": must be at least 1");
  int64_t bytes = info.channels * size_of(info.type);
  for (int64_t d : info.dims) {
    if (d < 1) refuse(keys.dims, info.dims, "each size must be at least 1");
    if (__builtin_mul_overflow(bytes, d, &bytes)) refuse(keys.dims, info.dims, "more bytes than 64 bits can count");
  }
  const auto check_numbers = [&](const char* key, const std::vector<double>& numbers, size_t count, bool positive) {
    const auto is_good = [&](double x) { return std::isfinite(x) && (x > 0 || !positive); };
    if (numbers.size() != count || !std::ranges::all_of(numbers, is_good))
      refuse(key, numbers, "must be ", count, " finite numbers", positive ? " above 0" : "");
  };
  check_numbers(keys.spacing, info.spacing, n, true);
  check_numbers(keys.origin, info.origin, n, false);
  check_numbers(keys.direction, info.direction, n * n, false);
  if (!invertible(info.direction, n))
    refuse(keys.direction, info.direction, "the matrix is singular: two axes run along the same line");
}

void check_image(const ImageInfo& info, Bytes data, const std::string& path, const ImageKeys& keys) {
  check_image(info, path, keys);
  if (int64_t(data.size()) != info.bytes())
    fail(path, ": data has ", data.size(), " bytes, ", keys.dims, " = ", joined(info.dims), " wants ", info.bytes());
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

ImageInfo info_of(const Grid& grid, ElementType type, int channels) {
  ImageInfo info;
  info.type = type, info.channels = channels;
  info.dims.assign(grid.size.begin(), grid.size.end());
  info.spacing.assign(grid.spacing.begin(), grid.spacing.end());
  info.origin.assign(grid.origin.begin(), grid.origin.end());
  for (const Vec3& axis : grid.direction) info.direction.insert(info.direction.end(), axis.begin(), axis.end());
  return info;
}

template <class T>
void append(std::vector<T>& to, ElementType type, Bytes values, const std::string& path) {
  if (type == element_type<T>) {
    const T* first = reinterpret_cast<const T*>(values.data());
    to.insert(to.end(), first, first + values.size() / sizeof(T));
    return;
  }
  with_type(type, [&](auto value) {
    const size_t before = to.size(), n = values.size() / sizeof value;
    to.resize(before + n);
    for (size_t i = 0; i < n; i++) {
      std::memcpy(&value, &values[i * sizeof value], sizeof value);
      if (!fits<T>(value))
        fail(path, ": type ", name_of(type), ": the value ", +value, " (number ", before + i, ") does not fit into ",
             name_of(element_type<T>));
      to[before + i] = T(value);
    }
  });
}

template void append(std::vector<int16_t>&, ElementType, Bytes, const std::string&);
template void append(std::vector<uint8_t>&, ElementType, Bytes, const std::string&);
template void append(std::vector<float>&, ElementType, Bytes, const std::string&);

}  // namespace acinus
