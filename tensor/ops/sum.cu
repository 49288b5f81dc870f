// sum   y = sum over i of x[i]        dx[i] += dy        x: any shape, y: scalar
#include "tensor/ops.h"
#include "tensor/reduce.h"

namespace acinus {
namespace {

// x[i] = the one value at `scalar`
template <class T>
struct FillWith {
  const T* scalar;
  T* x;
  HD void operator()(int64_t i) const { x[i] = *scalar; }
};

}  // namespace

Tensor sum(const Tensor& x) {
  check_precise("sum", {&x});
  return record("sum", reduce(Same{}, x), {x}, [shape = x.shape()](const Tensor& dy, Inputs& in) {
    Tensor dx(shape, dy.dtype(), dy.device());
    dispatch_precise(dy.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each(dy.device(), dx.elements(), FillWith<T>{dy.ptr<T>(), dx.ptr<T>()});
    });
    in[0].add_grad(dx);
  });
}

}  // namespace acinus
