// Tensor: an n-dimensional array with a gradient. The one data type of the library.
//
//   Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});   // shape (2,3), float32
//   Tensor w = Tensor::full({2, 3}, 0.5).requires_grad();
//   Tensor y = sum(mul(x, w));                             // y holds 10.5
//   y.backward();                                          // w.grad() is (2,3): 1 2 3 4 5 6
//
// A Tensor is a handle: copies share the same elements and the same gradient (clone() copies elements).
// Elements are stored in row-major order, the last axis fastest. Images are (N,H,W,C): batch, rows, columns, channels, so
// the channels of a pixel are adjacent. Convolution weights are (KH,KW,C,O).
//
// This header and all .cu files keep to C++17, which is what the oldest supported nvcc understands.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/check.h"
#include "tensor/dtype.h"

namespace acinus {

// The lengths of at most six axes. Shape{} is that of a scalar: no axes, one element.
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

// The elements, and when they were last overwritten in place: a backward() that needs the old ones is an Error.
struct Storage {
  explicit Storage(std::shared_ptr<void> memory);
  std::shared_ptr<void> memory;
  int64_t created, overwritten = 0;  // on a clock that counts such events
};

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
  T* data() const {  // the elements of a tensor on the CPU; T must be the tensor's type
    check(device_ == Device::cpu, "data: the tensor ", shape_, " is on the GPU; get it with .to(Device::cpu)");
    return ptr<T>();
  }
  template <class T>
  T* ptr() const {  // the same on any device: for kernels; the CPU must not dereference it on a GPU
    check(bool(*this), "data: this tensor is empty");
    check(dtype_of<T>() == dtype_, "data: the tensor holds ", name(dtype_), ", not ", name(dtype_of<T>()));
    if (storage_->overwritten > 0) check_not_overwritten();
    return static_cast<T*>(storage_->memory.get());
  }
  double item() const;  // the value of a tensor with one element
  template <class T = double>
  std::vector<T> to_vector() const;  // all elements, converted to T

  Tensor to(DType dtype) const;                // a converted copy; the tensor itself if it has that type
  Tensor to(Device device) const;              // a copy on that device; the tensor itself if it is there
  Tensor clone() const;                        // a copy, no gradient
  Tensor detach() const;                       // the same elements, no gradient: what an op's closure should capture
  Tensor viewed_as(const Shape& shape) const;  // the same elements, no gradient (see reshape in ops.h)
  Tensor permuted(const std::vector<int>& axes) const;  // a copy whose axis i is this tensor's axes[i], no gradient
  // These two overwrite the elements in place; backward() of an op that still needs the old ones is an Error.
  void copy_from(const Tensor& source);  // of the same shape, any dtype and device
  void accumulate(const Tensor& more);   // adds it, element by element: same shape, dtype and device
  void mark_overwritten() const;         // for others that do the same
  bool is_unique() const { return storage_.use_count() == 1; }  // no other tensor shares the elements

  // ---- the gradient (autograd.h explains how it works)
  Tensor& requires_grad(bool on = true);  // makes this a leaf with a gradient (a parameter)
  bool needs_grad() const { return slot_ != nullptr; }
  bool is_leaf() const;               // not the result of a recorded op
  Tensor grad() const;                // of a leaf; empty before the first backward()
  void set_grad(const Tensor& grad);  // Tensor() clears it
  void backward() const;              // of a scalar: adds d(this)/d(leaf) to every leaf's gradient
  void backward(Tensor dy) const;     // of any shape: adds d(sum(dy * this))/d(leaf)

 private:
  friend struct Autograd;
  void check_not_overwritten() const;

  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
  std::shared_ptr<Storage> storage_;
  std::shared_ptr<GradSlot> slot_;
};

// What a network's parameters and a file hold: tensors with names, in an order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Shape, type and values, without the middle of long axes, as in NumPy.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// Error unless all tensors have one type and device; `op` begins the message.
void check_same_kind(const char* op, std::initializer_list<const Tensor*> tensors);
// ... other than bfloat16.
void check_precise(const char* op, std::initializer_list<const Tensor*> tensors);
// Error unless the parameters are on x's device and have the type of its arithmetic: float32 for bfloat16.
void check_parameters(const char* op, const Tensor& x, std::initializer_list<const Tensor*> parameters);

}  // namespace acinus
