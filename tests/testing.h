// What the test files share. Catch's CHECK and REQUIRE are macros, our check is a function: they do not collide.
#pragma once
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "tensor/check.h"
#include "tensor/memory.h"
#include "tensor/random.h"
#include "tensor/io/safetensors.h"
#include "tensor/tensor.h"

namespace acinus {

// ---- files ----------------------------------------------------------------------------------------------------

// A folder of its own for a test case, gone at its end.
struct Scratch {
  std::filesystem::path path = std::filesystem::temp_directory_path() / text("acinus-test-", getpid());
  Scratch() { std::filesystem::create_directories(path); }
  ~Scratch() { std::filesystem::remove_all(path); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  bool holds_temporary() const {  // something half-written?
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
      if (entry.path().filename().string().find(".tmp") != std::string::npos) return true;
    return false;
  }
};

// Not write_file: that waits for the disk, and these are thousands. A new file is written faster than an old one over.
inline void put(const std::string& path, const std::string& content) {
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file << content;
  REQUIRE(file.flush());
}

// The message of the Error that f throws, or "no error".
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// ---- numbers --------------------------------------------------------------------------------------------------

// Uniform in [low, high).
inline Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype = DType::f64, double low = -1,
                            double high = 1) {
  Random random(seed);
  std::vector<double> values(size_t(shape.elements()));
  for (double& v : values) v = random.uniform(low, high);
  return Tensor::from(shape, values).to(dtype);
}

// The largest difference, relative to the largest magnitude of `expected` (or to `floor`, where all of it is smaller).
// A NaN on either side, or another shape, is infinitely wrong.
inline double relative_error(const Tensor& actual, const Tensor& expected, double floor = 1e-12) {
  if (actual.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = actual.to_vector<double>(), b = expected.to_vector<double>();
  double error = 0, scale = floor;
  for (size_t i = 0; i < a.size(); i++) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
    error = std::max(error, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return error / scale;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.to(Device::cpu), y = b.to(Device::cpu);
  return dispatch(a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    return std::memcmp(x.data<T>(), y.data<T>(), size_t(a.elements()) * sizeof(T)) == 0;
  });
}

inline double dot(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  REQUIRE(x.size() == y.size());
  double sum = 0;
  for (size_t i = 0; i < x.size(); i++) sum += x[i] * y[i];
  return sum;
}

// Compares gradients with finite differences: for each tensor, along one random direction in it, f(name, slope by its
// gradient, slope of value() by central differences).
template <class Value, class F>
void compare_slopes(const NamedTensors& tensors, Value value, F f) {
  const double h = 1e-6;
  for (const auto& [name, constant] : tensors) {
    INFO(name);
    Tensor tensor = constant;
    REQUIRE(tensor.grad());
    const Tensor start = tensor.clone(), direction = random_tensor(tensor.shape(), 8);
    const auto at = [&](double step) {
      for (int64_t i = 0; i < tensor.elements(); i++)
        tensor.data<double>()[i] = start.data<double>()[i] + step * direction.data<double>()[i];
      const double result = value();
      tensor.copy_from(start);
      return result;
    };
    f(name, dot(tensor.grad(), direction), (at(h) - at(-h)) / (2 * h));
  }
}

// ---- states that end with the test ----------------------------------------------------------------------------

// New tensors are full of NaN, so that an element nobody writes shows.
struct Poison {
  Poison() { memory::poison(true); }
  ~Poison() { memory::poison(false); }
};

struct Threads {
#ifdef _OPENMP
  int before = omp_get_max_threads();
  explicit Threads(int n) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before); }
#else
  explicit Threads(int) {}
#endif
};

}  // namespace acinus
