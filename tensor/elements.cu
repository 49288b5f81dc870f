#include "tensor/elements.h"

#include "tensor/for_each.h"

namespace acinus {

template <class T>
struct FillBody {
  T value;
  T* x;
  HD void operator()(int64_t i) const { x[i] = value; }
};

template <class From, class To>
struct ConvertBody {
  const From* from;
  To* to;
  HD void operator()(int64_t i) const { to[i] = To(Compute<To>(Compute<From>(from[i]))); }
};

struct Sum {
  template <class T>
  HD T operator()(T a, T b) const {
    return a + b;
  }
};

void fill(Tensor& x, double value) {
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), x.elements(), FillBody<T>{T(Compute<T>(value)), x.ptr<T>()});
  });
}

void convert(const Tensor& from, Tensor& to) {
  dispatch(from.dtype(), [&](auto from_zero) {
    dispatch(to.dtype(), [&](auto to_zero) {
      using From = decltype(from_zero);
      using To = decltype(to_zero);
      for_each(from.device(), from.elements(), ConvertBody<From, To>{from.ptr<From>(), to.ptr<To>()});
    });
  });
}

void add_to(Tensor& sum, const Tensor& more) { map_into(sum, Sum{}, sum, more); }

}  // namespace acinus
