// Tensor: an n-dimensional array with a gradient. The one data type of the library.
//
//   Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});   // shape (2,3), float32
//   Tensor w = Tensor::full({2, 3}, 0.5).requires_grad();
//   Tensor y = sum(mul(x, w));                             // y holds 10.5
//   y.backward();                                          // w.grad() is (2,3): 1 2 3 4 5 6
//
// A Tensor is a handle: copies share the same elements and the same gradient (clone() copies elements).
// Elements lie row by row, the last axis fastest. Images are (N,H,W,C): batch, rows, columns, channels, so
// the channels of a pixel lie together. Convolution weights are (KH,KW,C,O).
//
// This header and everything in ops/ keeps to C++17, which is what the oldest nvcc we support understands.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/bf16.h"
#include "tensor/check.h"

namespace acinus {

enum class DType { f32, f64, bf16 };
enum class Device { cpu, cuda };  // cuda: the one GPU this process uses, see device.h

int64_t size_of(DType dtype);  // bytes of one element
const char* name(DType dtype);
const char* name(Device device);
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};

// Calls f(T()) with the C++ type that holds dtype:
//   dispatch(x.dtype(), [&](auto zero) { using T = decltype(zero); ... });
template <class F>
auto dispatch(DType dtype, F f) {
  return dtype == DType::f32 ? f(float()) : dtype == DType::f64 ? f(double()) : f(bf16());
}
// The same for what must not lose digits: sums, losses, parameters. bfloat16 is an Error.
template <class F>
auto dispatch_precise(DType dtype, F f) {
  check(dtype != DType::bf16, "bfloat16 has too few digits for this");
  return dtype == DType::f32 ? f(float()) : f(double());
}

// The lengths of the axes, at most six of them. Shape{} is a scalar's: no axes, one element.
class Shape {
 public:
  static constexpr int max_rank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), int(dims.size())) {}
  Shape(const int64_t* dims, int rank);
  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[axis < 0 ? axis + rank_ : axis]; }  // [-1] is the last axis
  int64_t elements() const;                                                             // the product of all lengths
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  bool operator==(const Shape& other) const;
  bool operator!=(const Shape& other) const { return !(*this == other); }

 private:
  int64_t dims_[max_rank] = {};
  int rank_ = 0;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape);  // (2,16,64,64)

struct GradSlot;  // where the gradient of a tensor is collected, see autograd.h

class Tensor {
 public:
  Tensor() = default;  // holds nothing; converts to false
  explicit Tensor(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);  // not initialised
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  template <class T>  // the values in row-major order; as many as the shape has elements
  static Tensor from(const Shape& shape, const std::vector<T>& values);
  static Tensor from(const Shape& shape, std::initializer_list<float> values);

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return shape_.elements(); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  template <class T>
  T* data() const {  // the elements themselves, of a tensor on the CPU; T must be the tensor's type
    check(device_ == Device::cpu, "data: the tensor ", shape_, " is on the GPU; get it with .to(Device::cpu)");
    return ptr<T>();
  }
  template <class T>
  T* ptr() const {  // the same on any device: for kernels, not to be followed here
    check(bool(*this), "data: this tensor is empty");
    check(DTypeOf<T>::value == dtype_, "data: the tensor holds ", name(dtype_), ", not ", name(DTypeOf<T>::value));
    return static_cast<T*>(storage_.get());
  }
  double item() const;  // the value of a tensor with one element
  template <class T = double>
  std::vector<T> to_vector() const;  // all elements, converted to T

  Tensor to(DType dtype) const;                // a converted copy; the tensor itself if there is nothing to convert
  Tensor to(Device device) const;              // a copy over there; the tensor itself if it is there
  Tensor clone() const;                        // own elements, no gradient
  Tensor detach() const;                       // same elements, no gradient: what an op's closure should capture
  Tensor viewed_as(const Shape& shape) const;  // same elements under another shape, no gradient (see reshape in ops.h)
  Tensor permuted(const std::vector<int>& axes) const;  // a copy whose axis i is this tensor's axes[i], no gradient
  // Overwrites the elements in place; same shape, any dtype and device. A backward() that still needs the old ones
  // would compute wrong gradients without a word: change parameters between a backward() and the next forward pass.
  void copy_from(const Tensor& source);
  bool is_unique() const { return storage_.use_count() == 1; }  // does no other tensor share the elements?

  // ---- the gradient (autograd.h tells how it works)
  Tensor& requires_grad(bool on = true);  // makes this a leaf whose gradient is wanted (a parameter)
  bool needs_grad() const { return slot_ != nullptr; }
  bool is_leaf() const;               // is it not the result of a recorded op?
  Tensor grad() const;                // of a leaf; empty before the first backward()
  void set_grad(const Tensor& grad);  // Tensor() forgets it
  void backward() const;              // of a scalar: adds d(this)/d(leaf) to every leaf's gradient
  void backward(Tensor dy) const;     // of any shape: adds d(sum(dy * this))/d(leaf)

 private:
  friend struct Autograd;
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
  std::shared_ptr<void> storage_;
  std::shared_ptr<GradSlot> slot_;
};

// What a network's parameters and a file hold: tensors with names, in an order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Shape, type and the values, the middle of long axes left out, as NumPy does.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// Throws unless all tensors are of one type and on one device; `op` opens the message.
void check_same_kind(const char* op, std::initializer_list<const Tensor*> tensors);
// ... and precise: not bfloat16.
void check_precise(const char* op, std::initializer_list<const Tensor*> tensors);
// Throws unless the parameters are on x's device and of the type that x is calculated in: float32 for bfloat16.
void check_parameters(const char* op, const Tensor& x, std::initializer_list<const Tensor*> parameters);

}  // namespace acinus
