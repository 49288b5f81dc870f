#include "tensor/tensor.h"

#include <algorithm>
#include <functional>
#include <iomanip>
#include <numeric>
#include <ostream>

#include "tensor/memory.h"

namespace acinus {

// ---- Shape ----------------------------------------------------------------------------------------------------

Shape::Shape(const int64_t* dims, int rank) : rank_(rank) {
  check(rank >= 0 && rank <= max_rank, "Shape: ", rank, " axes; at most ", max_rank, " are supported");
  int64_t product = 1;
  for (int i = 0; i < rank; i++) {
    check(dims[i] >= 0, "Shape: axis ", i, " has length ", dims[i]);
    check(dims[i] == 0 || product <= (int64_t(1) << 40) / dims[i], "Shape: too many elements (more than 2^40)");
    product *= std::max<int64_t>(dims[i], 1);
    dims_[i] = dims[i];
  }
}

int64_t Shape::elements() const { return std::accumulate(begin(), end(), int64_t(1), std::multiplies<>()); }

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

// How many elements apart two neighbours along an axis are in memory.
static int64_t stride_of(const Shape& shape, int axis) {
  return std::accumulate(shape.begin() + axis + 1, shape.end(), int64_t(1), std::multiplies<>());
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int i = 0; i < shape.rank(); i++) out << (i ? "," : "") << shape[i];
  return out << ')';
}

// ---- making tensors -------------------------------------------------------------------------------------------

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : shape_(shape),
      dtype_(dtype),
      device_(device),
      storage_(std::make_shared<Storage>(memory::allocate(shape.elements() * size_of(dtype), device))) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

template <class T>
Tensor Tensor::from(const Shape& shape, const std::vector<T>& values) {
  check(int64_t(values.size()) == shape.elements(), "from: shape ", shape, " needs ", shape.elements(), " values, got ",
        values.size());
  Tensor t(shape, dtype_of<T>());
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}
template Tensor Tensor::from(const Shape&, const std::vector<float>&);
template Tensor Tensor::from(const Shape&, const std::vector<double>&);

Tensor Tensor::from(const Shape& shape, std::initializer_list<float> values) {
  return from(shape, std::vector<float>(values));
}

// ---- reading and copying --------------------------------------------------------------------------------------

double Tensor::item() const {
  check(bool(*this) && elements() == 1, "item: needs a tensor of one element, got shape ", shape_);
  return to_vector<double>()[0];
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  if (device_ != Device::cpu) return to(Device::cpu).to_vector<T>();
  std::vector<T> values(elements());
  dispatch(dtype_, [&](auto zero) {
    const auto* from = data<decltype(zero)>();
    std::transform(from, from + elements(), values.begin(), [](auto v) { return T(v); });
  });
  return values;
}
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;

static Tensor copy_of(const Tensor& t, DType dtype, Device device) {
  Tensor copy(t.shape(), dtype, device);
  copy.copy_from(t);
  return copy;
}
Tensor Tensor::to(DType dtype) const { return dtype == dtype_ ? *this : copy_of(*this, dtype, device_); }
Tensor Tensor::to(Device device) const { return device == device_ ? *this : copy_of(*this, dtype_, device); }
Tensor Tensor::clone() const { return copy_of(*this, dtype_, device_); }

Tensor Tensor::detach() const {
  Tensor t = *this;
  t.slot_ = nullptr;
  return t;
}

Tensor Tensor::viewed_as(const Shape& shape) const {
  check(shape.elements() == elements(), "reshape: ", shape_, " has ", elements(), " elements, ", shape, " has ",
        shape.elements());
  Tensor t = detach();
  t.shape_ = shape;
  return t;
}

Tensor Tensor::permuted(const std::vector<int>& axes) const {
  if (device_ != Device::cpu) return to(Device::cpu).permuted(axes).to(device_);  // at the border to files only
  const int rank = shape_.rank();
  check(int(axes.size()) == rank, "permuted: ", axes.size(), " axes given for shape ", shape_);
  int64_t dims[Shape::max_rank], step[Shape::max_rank], index[Shape::max_rank] = {};
  for (int i = 0; i < rank; i++) {
    const int axis = axes[i];
    check(axis >= 0 && axis < rank && std::ranges::count(axes, axis) == 1, "permuted: each axis of shape ", shape_,
          " must be named once");
    dims[i] = shape_[axis];
    step[i] = stride_of(shape_, axis);
  }
  Tensor t(Shape(dims, rank), dtype_, device_);
  dispatch(dtype_, [&](auto zero) {
    using T = decltype(zero);
    const T* from = data<T>();
    T* to = t.data<T>();
    for (int64_t i = 0, n = elements(), at = 0; i < n; i++) {
      to[i] = from[at];
      for (int axis = rank - 1; axis >= 0; axis--) {  // count up, the last axis fastest
        at += step[axis];
        if (++index[axis] < dims[axis]) break;
        at -= step[axis] * dims[axis];
        index[axis] = 0;
      }
    }
  });
  return t;
}

static void check_device(const char* op, const Tensor& a, const Tensor& b) {
  check(a.device() == b.device(), op, ": tensors on two devices: ", name(a.device()), " ", a.shape(), " vs ",
        name(b.device()), " ", b.shape(), "; move one with .to()");
}

void check_same_kind(const char* op, std::initializer_list<const Tensor*> tensors) {
  const Tensor& first = **tensors.begin();
  for (const Tensor* t : tensors) {
    check(bool(*t), op, ": an input is empty");
    check(t->dtype() == first.dtype(), op, ": element types differ: ", name(first.dtype()), " ", first.shape(), " vs ",
          name(t->dtype()), " ", t->shape(), "; convert one with .to()");
    check_device(op, first, *t);
  }
}

void check_precise(const char* op, std::initializer_list<const Tensor*> tensors) {
  check_same_kind(op, tensors);
  check((*tensors.begin())->dtype() != DType::bf16, op,
        ": bfloat16 has too few digits for this; convert it with cast(x, DType::f32)");
}

void check_parameters(const char* op, const Tensor& x, std::initializer_list<const Tensor*> parameters) {
  check(bool(x), op, ": an input is empty");
  const DType dtype = x.dtype() == DType::bf16 ? DType::f32 : x.dtype();
  for (const Tensor* p : parameters) {
    check(bool(*p), op, ": a parameter is empty");
    check(p->dtype() == dtype, op, ": x is ", name(x.dtype()), " ", x.shape(), ", a parameter ", name(p->dtype()), " ",
          p->shape(), "; it must be ", name(dtype), ", convert one with .to()");
    check_device(op, x, *p);
  }
}

// ---- printing -------------------------------------------------------------------------------------------------

namespace {
void print_axis(std::ostream& out, const std::vector<double>& values, const Shape& shape, int axis, int64_t start) {
  if (axis == shape.rank()) {
    out << values[start];
    return;
  }
  const bool last = axis == shape.rank() - 1;
  const int64_t edge = 3;  // elements shown at each end of a long axis
  out << '[';
  for (int64_t i = 0; i < shape[axis]; i++) {
    if (i > 0) out << (last ? ", " : ",\n" + std::string(axis + 1, ' '));
    if (shape[axis] > 2 * edge + 1 && i == edge) {
      out << "...";
      i = shape[axis] - edge - 1;
    } else {
      print_axis(out, values, shape, axis + 1, start + i * stride_of(shape, axis));
    }
  }
  out << ']';
}
}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor) return out << "Tensor()";
  std::ostringstream values;  // a stream of its own, so that the caller's precision stays as it is
  values << std::setprecision(4);
  print_axis(values, tensor.to_vector<double>(), tensor.shape(), 0, 0);
  return out << "Tensor" << tensor.shape() << ' ' << name(tensor.dtype()) << '\n' << values.str();
}

}  // namespace acinus
