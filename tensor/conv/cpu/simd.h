// A Vector<T> holds as many numbers as the machine handles in one instruction: 16 floats with AVX-512, 8 with AVX2, 4 with
// SSE or NEON; half as many doubles. It is the vector type of GCC and clang: + - * work element by element, and a scalar
// beside a vector counts for each of its elements. For the few inner loops where nothing should be left to the compiler's
// vectoriser.
//
// Why not Eigen::Array<T, lanes, 1>? GCC makes the same micro-kernel of it, but clang no fused multiply-adds, so half the
// speed; and its select() is not vectorised, which makes Winograd's forward pass 8 to 17 % slower (GCC 12, Eigen 3.4).
#pragma once
#include <cstdint>
#include <cstring>

namespace acinus {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, vector_registers = 32;
#elif defined(__AVX__)
constexpr int vector_bytes = 32, vector_registers = 16;
#elif defined(__ARM_NEON)
constexpr int vector_bytes = 16, vector_registers = 32;
#else
constexpr int vector_bytes = 16, vector_registers = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(vector_bytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int64_t lanes = vector_bytes / int(sizeof(T));

template <class T>
Vector<T> load(const T* from) {  // from anywhere: no alignment needed
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
void store(T* to, const Vector<T>& v) {
  std::memcpy(to, &v, sizeof v);
}

// n rounded up to whole vectors.
template <class T>
constexpr int64_t whole_vectors(int64_t n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

}  // namespace acinus
