// cross_entropy   y = 1/R * sum over rows r of  log(sum over k of exp(x[r,k])) - x[r, t[r]]
//                 dx[r,c] += dy / R * (softmax(x)[r,c] - 1[c = t[r]])
//                 x (...,C) logits in R rows of C classes; t (...) class numbers stored as floats; y scalar
//
// With m the row's maximum, log(sum exp(x)) = m + log(sum exp(x - m)): so exp cannot overflow.
#include "tensor/column_sums.h"
#include "tensor/ops.h"

namespace acinus {
namespace {

template <class T>
struct LogSumExp {
  int64_t c;
  const T* x;
  HD T of(int64_t row) const {
    const T* in = x + row * c;
    T largest = in[0], total = 0;
    for (int64_t k = 1; k < c; k++) largest = in[k] > largest ? in[k] : largest;
    for (int64_t k = 0; k < c; k++) total += std::exp(in[k] - largest);
    return largest + std::log(total);
  }
};

template <class T>
struct CrossEntropyForward {
  LogSumExp<T> rows;
  const T* t;
  template <class Count>
  HD auto operator()(int64_t row, int64_t, Count n) const {
    Terms<T, 1, Count> terms;
    for (int64_t k = 0; k < n; k++) terms[0][k] = rows.of(row + k) - rows.x[(row + k) * rows.c + int64_t(t[row + k])];
    return terms;
  }
};

template <class T>
struct CrossEntropyBackward {  // one row
  LogSumExp<T> rows;
  double n;
  const T *t, *dy;
  T* dx;
  HD void operator()(int64_t row) const {
    const T log_sum = rows.of(row);
    for (int64_t k = 0; k < rows.c; k++) {
      const T softmax = std::exp(rows.x[row * rows.c + k] - log_sum);
      dx[row * rows.c + k] = *dy / T(n) * (softmax - (k == int64_t(t[row]) ? 1 : 0));
    }
  }
};

struct NotAClass {
  double classes;
  template <class T>
  HD T operator()(T t) const {
    return t >= 0 && t < T(classes) && t == std::floor(t) ? T(0) : T(1);
  }
};

}  // namespace

Tensor cross_entropy(const Tensor& x, const Tensor& t) {
  check_precise("cross_entropy", {&x, &t});
  const Shape s = x.shape();
  check(s.rank() >= 1 && x.elements() > 0 && t.shape() == Shape(s.begin(), s.rank() - 1), "cross_entropy: x ", s,
        " needs targets of its shape without the last axis, got ", t.shape());
  const int64_t c = s[-1], rows = t.elements();
  const double wrong = reduce(NotAClass{double(c)}, t).item();
  check(wrong == 0, "cross_entropy: ", wrong, " targets are not whole numbers from 0 to ", c - 1);
  const Tensor total = dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    return reduce_columns<T>(x.device(), 1, rows, 1, CrossEntropyForward<T>{{c, x.ptr<T>()}, t.ptr<T>()})[0];
  });
  return record(
      "cross_entropy", map(Scale{1.0 / double(rows)}, total.viewed_as({})), {x},
      [c, rows, x = x.detach(), t = t.detach()](const Tensor& dy, Inputs& in) {
        Tensor dx(x.shape(), x.dtype(), x.device());
        dispatch_precise(x.dtype(), [&](auto zero) {
          using T = decltype(zero);
          for_each(x.device(), rows,
                   CrossEntropyBackward<T>{{c, x.ptr<T>()}, double(rows), t.ptr<T>(), dy.ptr<T>(), dx.ptr<T>()}, c);
        });
        in[0].add_grad(dx);
      });
}

}  // namespace acinus
