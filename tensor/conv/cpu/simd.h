// A Vector<T> is as many numbers as the machine handles in one instruction: 16 floats with AVX-512, 8 with AVX2,
// 4 with SSE or NEON; half as many doubles. It is the vector type of GCC and clang: + - * work element by element,
// and a plain number beside a vector counts for each of its elements. For the few inner loops where the compiler
// must not be left to guess.
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
