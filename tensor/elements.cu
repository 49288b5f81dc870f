// What Tensor itself does to elements, on any device.
#include "tensor/cuda/device.h"
#include "tensor/for_each.h"

namespace acinus {
namespace {

template <class T>
struct Fill {
  T value;
  T* x;
  HD void operator()(int64_t i) const { x[i] = value; }
};


}  // namespace

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor x(shape, dtype, device);
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each(device, x.elements(), Fill<T>{T(Compute<T>(value)), x.ptr<T>()});
  });
  return x;
}

void Tensor::copy_from(const Tensor& source) {
  check(bool(*this) && bool(source), "copy_from: a tensor is empty");
  check(shape_ == source.shape_, "copy_from: shapes differ: ", shape_, " vs ", source.shape_);
  mark_overwritten();
  // Converted on the device it comes from, then moved.
  const Tensor converted = source.device_ == device_ ? source : source.to(dtype_);
  dispatch(converted.dtype_, [&](auto from_zero) {
    using From = decltype(from_zero);
    const From* from = converted.ptr<From>();
    if (converted.dtype_ == dtype_)
      return cuda::copy(ptr<From>(), device_, from, converted.device_, elements() * size_of(dtype_));
    dispatch(dtype_, [&](auto to_zero) {
      using To = decltype(to_zero);
      for_each(device_, elements(), MapBody<Same, From, 1, To>{{Same(), {from}}, ptr<To>()});
    });
  });
}

void Tensor::accumulate(const Tensor& more) { map_into(*this, Add{}, *this, more); }

}  // namespace acinus
