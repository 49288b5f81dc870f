// .npy, NumPy's file of one array (specified in numpy/lib/format.py): versions 1 to 3 are read, 1 is written.
//
//   NpyArray a = read_npy("mask.npy");                     a.shape {133, 296, 382}, a.type ElementType::u8
//   std::vector<uint8_t> voxels = a.values<uint8_t>();
//   write_npy("prob.npy", {2, 3}, std::vector<float>{...});
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "data/volume/image.h"

namespace acinus {

struct NpyArray {
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;   // {} is a single number; a size may be 0
  std::vector<std::byte> data;  // last axis fastest, in this machine's byte order

  int64_t size() const;                       // product of shape
  void check_type(ElementType wanted) const;  // throws if the array is of another type
  template <class T>
  std::vector<T> values() const {
    check_type(element_type<T>);
    std::vector<T> result(data.size() / sizeof(T));
    if (!data.empty()) std::memcpy(result.data(), data.data(), data.size());
    return result;
  }
};

// Booleans become uint8, half precision float32, and Fortran order (first axis fastest) C order. Objects, text and
// records are refused; messages are "FILE: what is wrong". No memory is allocated for values before the file is known
// to be long enough.
NpyArray read_npy(const std::string& path);
void write_npy(const std::string& path, const NpyArray& array);
template <class T>
void write_npy(const std::string& path, const std::vector<int64_t>& shape, const std::vector<T>& values) {
  const std::byte* first = reinterpret_cast<const std::byte*>(values.data());
  write_npy(path, {element_type<T>, shape, {first, first + values.size() * sizeof(T)}});
}

}  // namespace acinus
