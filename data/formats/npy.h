// .npy, NumPy's file of one array (numpy/lib/format.py describes it): versions 1 to 3 are read, 1 is written.
//
//   NpyArray a = read_npy("mask.npy");                     a.shape {133, 296, 382}, a.type NpyType::u1
//   std::vector<uint8_t> voxels = a.values<uint8_t>();
//   write_npy("prob.npy", {2, 3}, std::vector<float>{...});
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace acinus {

// As NumPy names them, without the byte order: letter and bytes.
enum class NpyType { b1, i1, i2, i4, i8, u1, u2, u4, u8, f2, f4, f8 };

struct NpyArray {
  NpyType type = NpyType::f4;
  std::vector<int64_t> shape;   // {} is a single number; a size may be 0
  std::vector<std::byte> data;  // last axis fastest, in this machine's byte order

  int64_t size() const;  // product of shape
  // All elements. T has to be the array's type; besides, f2 (half precision) goes into float and b1 into uint8_t.
  template <class T>
  std::vector<T> values() const;
};

// An array in Fortran order (first axis fastest) is turned round. Objects, text and records are refused; what is
// wrong is said as "FILE: what". No memory is taken before the file is known to be long enough.
NpyArray read_npy(const std::string& path);
void write_npy(const std::string& path, const NpyArray& array);
template <class T>
void write_npy(const std::string& path, const std::vector<int64_t>& shape, const std::vector<T>& values);

}  // namespace acinus
