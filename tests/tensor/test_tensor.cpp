// Tensors, their memory, and the tape of gradients.
#include <bit>

#include "optim/adam.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/sgd.h"
#include "tensor/for_each.h"
#include "tensor/gradient_checkpoint.h"
#include "tensor/ops.h"
#include "tensor/parallel.h"
#include "tensor/trace.h"
#include "tests/testing.h"

using namespace acinus;
using Vector = std::vector<double>;

// ---- shapes and elements ----------------------------------------------------------------------------------------

TEST_CASE("tensor: shapes") {
  const Shape shape{2, 16, 64, 3};
  CHECK((shape.rank() == 4 && shape.elements() == 6144 && shape[1] == 16 && shape[-1] == 3 && shape[-4] == 2));
  CHECK(text(shape) == "(2,16,64,3)");
  CHECK((Shape{}.elements() == 1 && Shape{}.rank() == 0 && text(Shape{}) == "()"));
  CHECK(Shape{0, 5}.elements() == 0);
  CHECK((Shape{2, 3} == Shape{2, 3} && Shape{2, 3} != Shape{3, 2} && Shape{2} != Shape{2, 1} && Shape{} != Shape{1}));
  CHECK_THAT(error_of([] { Shape{1, 1, 1, 1, 1, 1, 1}; }), Catch::Contains("7 axes"));
  CHECK_THAT(error_of([] { Shape{3, -1}; }), Catch::Contains("axis 1 has length -1"));
  CHECK_THAT(error_of([] { Shape{1 << 21, 1 << 21}; }), Catch::Contains("too many elements"));
  CHECK_THAT(error_of([] { Shape{INT64_MAX, 2}; }), Catch::Contains("too many elements"));
  CHECK_THAT(error_of([] { Shape{INT64_MAX, 0, 2}; }), Catch::Contains("too many elements"));
}

TEST_CASE("tensor: made, read, converted and copied") {
  const Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6.5});
  CHECK((x.dtype() == DType::f32 && x.device() == Device::cpu && x.elements() == 6));
  CHECK(x.to_vector() == Vector{1, 2, 3, 4, 5, 6.5});
  CHECK(x.to_vector<float>() == std::vector<float>{1, 2, 3, 4, 5, 6.5});
  CHECK(Tensor::full({3}, 0.1).to_vector()[2] == double(0.1f));
  CHECK(Tensor::full({3}, 0.1, DType::f64).to_vector()[2] == 0.1);
  CHECK(Tensor::zeros({}).item() == 0);
  CHECK(Tensor::full({1, 1}, 7).item() == 7);
  CHECK(Tensor::from({2}, Vector{1e300, 2}).dtype() == DType::f64);

  const Tensor wide = x.to(DType::f64);
  CHECK((wide.dtype() == DType::f64 && wide.to_vector() == x.to_vector()));
  CHECK(wide.to(DType::f32).dtype() == DType::f32);
  CHECK(x.to(DType::f32).data<float>() == x.data<float>());  // nothing to convert: the same elements
  CHECK(x.detach().data<float>() == x.data<float>());
  const Tensor own = x.clone(), handle = x, flat = x.viewed_as({3, 2});
  x.data<float>()[0] = 9;
  CHECK((own.to_vector()[0] == 1 && handle.to_vector()[0] == 9 && flat.to_vector()[0] == 9));
  CHECK(flat.shape() == Shape{3, 2});
  CHECK((own.is_unique() && !x.is_unique()));
  own.clone().copy_from(x);
  CHECK(own.to_vector()[0] == 1);
  Tensor(own).copy_from(wide);  // any type, into what the handle shares
  CHECK(own.to_vector()[0] == 1);
  CHECK((!Tensor() && x));

  CHECK_THAT(error_of([] { Tensor::from({2, 2}, {1, 2, 3}); }), Catch::Contains("(2,2) needs 4 values, got 3"));
  CHECK_THAT(error_of([&] { x.item(); }), Catch::Contains("one element") && Catch::Contains("(2,3)"));
  CHECK_THAT(error_of([] { Tensor().item(); }), Catch::Contains("item: "));
  CHECK_THAT(error_of([&] { x.data<double>(); }), Catch::Contains("holds float32, not float64"));
  CHECK_THAT(error_of([] { Tensor().data<float>(); }), Catch::Contains("empty"));
  CHECK_THAT(error_of([&] { x.viewed_as({7}); }), Catch::Contains("(2,3)") && Catch::Contains("(7)"));
  CHECK_THAT(error_of([&] { x.clone().copy_from(flat); }), Catch::Contains("(2,3) vs (3,2)"));
  CHECK_THAT(error_of([&] {
               check_same_kind("op", {&x, &wide});
             }),
             Catch::Contains("op: element types differ: float32 (2,3) vs float64 (2,3); convert one with .to()"));
}

TEST_CASE("tensor: permuted") {
  const Tensor x = Tensor::from({1, 2, 3}, {0, 1, 2, 10, 11, 12});
  CHECK(x.permuted({2, 0, 1}).shape() == Shape{3, 1, 2});
  CHECK(x.permuted({2, 0, 1}).to_vector() == Vector{0, 10, 1, 11, 2, 12});
  CHECK(same_bits(x.permuted({0, 1, 2}), x));
  const Tensor y = random_tensor({2, 3, 4, 5}, 1);
  CHECK(same_bits(y.permuted({3, 2, 0, 1}).permuted({2, 3, 1, 0}), y));
  CHECK(y.permuted({0, 3, 1, 2}).to_vector()[5] == y.to_vector()[(1 * 4 + 1) * 5]);  // (0,0,1,1) of (N,C,H,W)
  CHECK(Tensor::zeros({0, 3}).permuted({1, 0}).shape() == Shape{3, 0});
  CHECK(Tensor::full({}, 4).permuted({}).item() == 4);
  CHECK_THAT(error_of([&] { x.permuted({0, 1}); }), Catch::Contains("2 axes") && Catch::Contains("(1,2,3)"));
  const Tensor square = Tensor::zeros({2, 2});
  for (const std::vector<int>& axes : {std::vector<int>{0, 0}, {1, 1}, {0, 2}, {-1, 0}})
    CHECK_THAT(error_of([&] { square.permuted(axes); }), Catch::Contains("named once"));
}

TEST_CASE("tensor: printed as NumPy does") {
  CHECK(text(Tensor()) == "Tensor()");
  CHECK(text(Tensor::full({}, 2.5)) == "Tensor() float32\n2.5");
  CHECK(text(Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6})) == "Tensor(2,3) float32\n[[1, 2, 3],\n [4, 5, 6]]");
  CHECK(text(Tensor::from({9}, Vector{1. / 3, 2, 3, 4, 5, 6, 7, 8, 9})) ==
        "Tensor(9) float64\n[0.3333, 2, 3, ..., 7, 8, 9]");
  CHECK(text(Tensor::zeros({7})) == "Tensor(7) float32\n[0, 0, 0, 0, 0, 0, 0]");
  CHECK(text(Tensor::zeros({0, 2})) == "Tensor(0,2) float32\n[]");
  CHECK(text(Tensor::full({1, 2, 1}, NAN)) == "Tensor(1,2,1) float32\n[[[nan],\n  [nan]]]");
}

// ---- memory -----------------------------------------------------------------------------------------------------

TEST_CASE("memory: bytes are counted, and blocks used again") {
  memory::release_cache();
  const memory::Stats before = memory::stats();
  memory::reset_peak();
  {
    const Tensor a({1000, 1000}), b({10});
    CHECK(reinterpret_cast<uintptr_t>(a.data<float>()) % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(b.data<float>()) % 64 == 0);
    const int64_t taken = memory::stats().in_use - before.in_use;
    CHECK((taken >= 4'000'040 && taken < 4'600'000));
    CHECK(memory::stats().peak == memory::stats().in_use);
    CHECK(memory::stats().reserved - before.reserved == taken);
    const Tensor shared = a;  // a handle costs nothing
    CHECK(memory::stats().in_use - before.in_use == taken);
  }
  CHECK(memory::stats().in_use == before.in_use);
  CHECK(memory::stats().peak > before.in_use + 4'000'000);
  memory::reset_peak();
  CHECK(memory::stats().peak == before.in_use);
  const int64_t reserved = memory::stats().reserved;
  { const Tensor again({1001, 1000}); }  // nearly the same size: the same block
  CHECK(memory::stats().reserved == reserved);
  memory::release_cache();
  CHECK(memory::stats().reserved == before.reserved);
  CHECK_THAT(error_of([] { memory::allocate(-1); }), Catch::Contains("-1 bytes"));
  CHECK_THAT(error_of([] { memory::allocate(int64_t(1) << 50); }), Catch::Contains("not a sensible size"));
  CHECK(memory::stats().in_use == before.in_use);
}

TEST_CASE("memory: a second identical step takes nothing new") {
  memory::release_cache();
  const Tensor x = random_tensor({2, 17, 13, 3}, 1, DType::f32);
  Tensor w = random_tensor({3, 3, 3, 5}, 2, DType::f32).requires_grad(), b = Tensor::zeros({5}).requires_grad();
  const auto step = [&] {
    w.set_grad({});
    b.set_grad({});
    const Tensor y = upsample2x(max_pool2d(relu(conv2d(x, w, b, {1, 1, 1}))));
    mean(mul(y, y)).backward();
  };
  step();
  const memory::Stats first = memory::stats();
  memory::reset_peak();
  step();
  const memory::Stats second = memory::stats();
  step();
  CHECK(second.reserved == first.reserved);
  CHECK(second.in_use == first.in_use);
  CHECK(memory::stats().peak == second.peak);
}

TEST_CASE("memory: blocks of sizes that are not asked for again do not pile up") {
  memory::release_cache();
  const int64_t before = memory::stats().reserved;
  for (int64_t mb = 1; mb <= 40; mb++) memory::allocate(mb << 20);
  CHECK(memory::stats().reserved - before <= 2 * (40 << 20));
  memory::release_cache();
}

TEST_CASE("memory: large blocks are cut, and put together again") {
  memory::release_cache();
  const int64_t before = memory::stats().reserved, mb = 1 << 20;
  { const auto whole = memory::allocate(64 * mb); }
  {
    std::vector<std::shared_ptr<void>> parts;
    for (int64_t size : {4, 32, 8, 16, 4}) parts.push_back(memory::allocate(size * mb));
    if (memory::under_address_sanitizer) return;  // blocks are not cut
    CHECK(memory::stats().reserved - before == 64 * mb);
    const auto* first = static_cast<char*>(parts[0].get());
    std::vector<std::pair<int64_t, int64_t>> spans;  // parts do not overlap and lie within 64 MB
    const int64_t sizes[] = {4, 32, 8, 16, 4};
    for (size_t i = 0; i < 5; i++) {
      const int64_t at = static_cast<char*>(parts[i].get()) - first;
      spans.emplace_back(at, at + sizes[i] * mb);
      CHECK(reinterpret_cast<uintptr_t>(parts[i].get()) % 64 == 0);
    }
    std::sort(spans.begin(), spans.end());
    for (size_t i = 1; i < 5; i++) CHECK(spans[i].first == spans[i - 1].second);
    std::swap(parts[0], parts[3]);  // freed in another order than taken
  }
  const int64_t now = memory::stats().reserved;
  { const auto whole = memory::allocate(64 * mb); }
  CHECK(memory::stats().reserved == now);
  memory::release_cache();
  CHECK(memory::stats().reserved == before);
}

TEST_CASE("memory: large blocks are not rounded to powers of two") {
  memory::release_cache();
  const int64_t before = memory::stats().reserved, mb = 1 << 20, gb = 1 << 30;
  { const auto block = memory::allocate(9 * mb); }
  if (!memory::under_address_sanitizer) {
    const auto a = memory::allocate(3 * mb), b = memory::allocate(5 * mb - 1), c = memory::allocate(mb);
    CHECK(memory::stats().reserved - before <= 9 * mb);
  }
  { const auto block = memory::allocate(gb + 1); }  // nothing is written: it costs address space only
  CHECK(memory::stats().reserved - before <= gb / 8 * 9);
  memory::release_cache();
  CHECK(memory::stats().reserved == before);
}

TEST_CASE("memory: a region that is partly in use stays when the cache is released") {
  memory::release_cache();
  const int64_t before = memory::stats().reserved;
  { const auto whole = memory::allocate(32 << 20); }
  auto part = memory::allocate(3 << 20);
  memory::release_cache();
  std::memset(part.get(), 1, 3 << 20);
  part.reset();
  memory::release_cache();
  CHECK(memory::stats().reserved == before);
}

TEST_CASE("parallel: every piece once, scratch of its own, and an Error comes out") {
  std::vector<int> done(1000);
  std::vector<float*> where(1000);
  parallel<float>(1000, true, 3, [&](int64_t i, float* scratch) {
    done[size_t(i)]++;
    scratch[0] = scratch[2] = float(i);
    where[size_t(i)] = scratch;
  });
  CHECK(done == std::vector<int>(1000, 1));
  for (float* scratch : where) CHECK((scratch - where[0]) % 16 == 0);
  CHECK(error_of([] { parallel(100, true, [](int64_t i) { check(i != 77, "piece ", i); }); }).starts_with("piece 77"));
  parallel(0, true, [](int64_t) { FAIL(); });
}

TEST_CASE("memory: from several threads at once") {
  const memory::Stats before = memory::stats();
  const Threads threads(4);
  int wrong = 0;
#pragma omp parallel for reduction(+ : wrong)
  for (int i = 0; i < 2000; i++) {
    Tensor t({1 + i % 50}), more({1 + i % 7});
    for (int64_t k = 0; k < t.elements(); k++) t.data<float>()[k] = float(i);
    for (int64_t k = 0; k < more.elements(); k++) more.data<float>()[k] = -1;
    for (int64_t k = 0; k < t.elements(); k++) wrong += t.data<float>()[k] != float(i);
  }
  CHECK(wrong == 0);
  CHECK(memory::stats().in_use == before.in_use);
}

TEST_CASE("memory: poisoned blocks are NaN") {
  const Poison poison;
  { Tensor::zeros({5}); }  // one that was used before, too
  const Tensor f({5}), d({5}, DType::f64);
  for (double v : f.to_vector()) CHECK(std::isnan(v));
  for (double v : d.to_vector()) CHECK(std::isnan(v));
}

// ---- gradients --------------------------------------------------------------------------------------------------

namespace {
Tensor leaf(const Vector& values) { return Tensor::from({int64_t(values.size())}, values).requires_grad(); }
}  // namespace

TEST_CASE("autograd: the example of the header") {
  const Tensor x = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
  Tensor w = Tensor::full({2, 3}, 0.5).requires_grad();
  CHECK_FALSE(w.grad());
  const Tensor y = sum(mul(x, w));
  CHECK(y.item() == 10.5);
  y.backward();
  CHECK(w.grad().shape() == Shape{2, 3});
  CHECK(w.grad().to_vector() == Vector{1, 2, 3, 4, 5, 6});
  sum(mul(x, w)).backward();  // gradients add up until they are forgotten
  CHECK(w.grad().to_vector() == Vector{2, 4, 6, 8, 10, 12});
  w.set_grad({});
  CHECK_FALSE(w.grad());
  CHECK_FALSE(x.needs_grad());
}

TEST_CASE("autograd: inputs used twice, and diamonds") {
  Tensor x = leaf({3, -2});
  sum(mul(x, x)).backward();  // x^2
  CHECK(x.grad().to_vector() == Vector{6, -4});
  x.set_grad({});
  sum(add(x, x)).backward();
  CHECK(x.grad().to_vector() == Vector{2, 2});

  // a = 2x, b = a*a, c = 3a, y = sum(b + c + a + x): a is reached by three ways of different length,
  // dy/dx = (2a + 3 + 1) * 2 + 1
  x.set_grad({});
  const Tensor a = scale(x, 2), b = mul(a, a), c = scale(a, 3);
  sum(add(add(b, c), add(a, x))).backward();
  CHECK(x.grad().to_vector() == Vector{(12 + 4) * 2 + 1, (-8 + 4) * 2 + 1});

  // Each layer uses the one below twice: 2^60 ways, each node runs once.
  x.set_grad({});
  Tensor y = x;
  for (int i = 0; i < 60; i++) y = add(scale(y, 0.25), scale(y, 0.25));
  sum(y).backward();
  CHECK(x.grad().to_vector() == Vector{std::ldexp(1., -60), std::ldexp(1., -60)});
}

TEST_CASE("autograd: gradients that share elements are not changed together") {
  Tensor a = leaf({1, 2}), b = leaf({3, 4});
  sum(add(a, b)).backward();  // both are given the same dy
  clip_grad_norm({{"a", a}}, 1e-3);
  CHECK(a.grad().to_vector()[0] < 1e-3);
  CHECK(b.grad().to_vector() == Vector{1, 1});

  a.set_grad({}), b.set_grad({});
  sum(reshape(add(reshape(a, {2, 1}), reshape(b, {2, 1})), {1, 2})).backward();
  clip_grad_norm({{"b", b}}, 1e-3);
  CHECK(a.grad().to_vector() == Vector{1, 1});

  // In the middle of the graph: h and k are given the same dy, h then gets more.
  a.set_grad({}), b.set_grad({});
  const Tensor h = scale(a, 2), k = scale(b, 2);
  sum(add(add(h, k), scale(h, 10))).backward();
  CHECK(a.grad().to_vector() == Vector{22, 22});
  CHECK(b.grad().to_vector() == Vector{2, 2});

  // What was handed to set_grad is the caller's.
  const Tensor given = Tensor::full({2}, 5, DType::f64);
  a.set_grad(given);
  sum(a).backward();
  CHECK(a.grad().to_vector() == Vector{6, 6});
  CHECK(given.to_vector() == Vector{5, 5});
}

TEST_CASE("autograd: backward frees the graph as it goes, and runs once") {
  const int64_t before = memory::stats().in_use;
  {
    Tensor x = random_tensor({200, 200}, 1).requires_grad();
    const int64_t with_x = memory::stats().in_use;
    Tensor y = x;
    for (int i = 0; i < 20; i++) y = sigmoid(y);
    const Tensor loss = sum(y);
    CHECK(memory::stats().in_use > with_x + 20 * 320'000);  // every sigmoid keeps its y
    memory::reset_peak();
    loss.backward();
    CHECK(memory::stats().in_use < with_x + 3 * 400'000);               // x's gradient, and our y
    CHECK(memory::stats().peak - with_x < 20 * 400'000 + 3 * 400'000);  // gradients in the middle do not pile up
    CHECK_THAT(error_of([&] { loss.backward(); }), Catch::Contains("freed by an earlier backward"));
    // A second loss over what was freed would lose the gradients below it without a word.
    CHECK_THAT(error_of([&] { sum(y).backward(); }), Catch::Contains("freed by an earlier backward"));
    x.set_grad({});
    sum(y.detach().requires_grad()).backward();
    CHECK_FALSE(x.grad());
  }
  CHECK(memory::stats().in_use == before);
  {  // a graph that never runs backward goes with its last tensor
    Tensor x = leaf({1});
    for (int i = 0; i < 10; i++) sum(mul(x, sigmoid(x)));
  }
  CHECK(memory::stats().in_use == before);
}

TEST_CASE("autograd: a ReLU masks its gradient unless all that used its result have") {
  // y = scale * x, for the result x of a ReLU.
  const auto use = [](const Tensor& x, double scale, bool masks) {
    return record("use", map(Scale{scale}, x), {x}, [=, x = x.detach()](const Tensor& dy, Inputs& in) {
      CHECK(in[0].from_relu());
      const Tensor dx = map(Scale{scale}, dy);
      for (int64_t i = 0; masks && i < 2; i++)
        if (x.data<double>()[i] <= 0) dx.data<double>()[i] = 0;
      in[0].add_grad(dx, masks);
    });
  };
  for (const bool first : {false, true})
    for (const bool second : {false, true}) {
      INFO(first << ' ' << second);
      Tensor x = Tensor::from({2}, std::vector<double>{-1, 2}).requires_grad();
      bool given_masked = false;
      const Tensor y = record(
          "relu", relu(x.detach()), {x},
          [&](const Tensor& dy, Inputs& in) {
            given_masked = in.masked;
            CHECK((dy.to_vector()[0] == 0) == in.masked);
            in[0].add_grad(dy);
          },
          /*from_relu=*/true);
      sum(add(use(y, 3, first), use(y, 5, second))).backward();
      CHECK(given_masked == (first && second));
      CHECK(x.grad().to_vector()[1] == 8);

      Tensor z = Tensor::from({2}, std::vector<double>{-1, 2}).requires_grad();  // by the op itself
      const Tensor r = relu(z);
      sum(add(use(r, 3, first), use(r, 5, second))).backward();
      CHECK(z.grad().to_vector() == std::vector<double>{0, 8});
    }
}

TEST_CASE("autograd: 200,000 ops deep") {
  const int64_t before = memory::stats().in_use;
  Tensor x = leaf({2});
  for (bool run : {true, false}) {  // neither backward nor the destructors recurse
    Tensor y = x;
    for (int i = 0; i < 200'000; i++) y = scale(y, i % 2 ? 2 : 0.5);
    Tensor z = sum(add(y, x));
    if (run) z.backward();
    y = z = Tensor();
  }
  CHECK(x.grad().item() == 2);
  {  // and with two inputs an op
    Tensor y = x;
    for (int i = 0; i < 100'000; i++) y = add(y, i % 3 ? y : x);
  }
  x = Tensor();
  CHECK(memory::stats().in_use == before);
}

TEST_CASE("autograd: a leaf's own backward adds, too") {
  Tensor w = Tensor::full({}, 2).requires_grad();
  w.set_grad(Tensor::full({}, 5));
  w.backward();
  CHECK(w.grad().item() == 6);
}

TEST_CASE("autograd: NoGrad") {
  const Tensor x = leaf({1, 2});
  {
    const NoGrad outer;
    { const NoGrad inner; }
    CHECK_FALSE(sum(x).needs_grad());
  }
  CHECK(sum(x).needs_grad());
  CHECK_THAT(error_of([&] {
               const NoGrad no_grad;
               add(x, Tensor());
             }),
             Catch::Contains("add"));
  CHECK(sum(x).needs_grad());
  CHECK_FALSE(sum(x.detach()).needs_grad());
  CHECK_FALSE(sum(Tensor(x).requires_grad(false)).needs_grad());
  CHECK(x.needs_grad());
}

TEST_CASE("autograd: errors leave nothing behind") {
  const int64_t before = memory::stats().in_use;
  {
    Tensor x = leaf({1, 2, 3});
    CHECK_THAT(error_of([&] { relu(x).backward(); }), Catch::Contains("scalar") && Catch::Contains("(3)"));
    CHECK_THAT(error_of([&] { sum(x.detach()).backward(); }), Catch::Contains("nothing that led to this tensor"));
    CHECK_THAT(error_of([&] { x.detach().grad(); }), Catch::Contains("requires_grad()"));
    CHECK_THAT(error_of([&] { x.detach().set_grad(x); }), Catch::Contains("requires_grad()"));
    CHECK_THAT(error_of([&] { x.set_grad(Tensor::zeros({2}, DType::f64)); }),
               Catch::Contains("(2)") && Catch::Contains("(3)"));
    CHECK_THAT(error_of([&] { add(relu(sigmoid(x)), Tensor::zeros({4}, DType::f64)); }), Catch::Contains("add"));

    // An op whose backward throws: recording is on again afterwards, and x still works.
    const auto throwing = [](const Tensor& y) {
      return record("throwing", y.clone(), {y}, [](const Tensor&, Inputs&) { fail("no"); });
    };
    CHECK(error_of([&] { sum(throwing(sigmoid(x))).backward(); }) == "no");
    const auto mis_shaped = [](const Tensor& y) {
      return record("mis_shaped", y.clone(), {y}, [](const Tensor&, Inputs& in) { in[0].add_grad(Tensor({2})); });
    };
    CHECK_THAT(error_of([&] { sum(mis_shaped(x)).backward(); }), Catch::Contains("gradient (2) for an input (3)"));
    const auto mixed = [](const Tensor& y) {
      return record("mixed", y.clone(), {y, y}, [](const Tensor& dy, Inputs& in) {
        in[0].add_grad(dy);
        in[1].add_grad(dy.to(DType::f32));
      });
    };
    CHECK_THAT(error_of([&] { sum(mixed(x)).backward(); }), Catch::Contains("float64") && Catch::Contains("float32"));
    x.set_grad({});
    sum(scale(x, 3)).backward();
    CHECK(x.grad().to_vector() == Vector{3, 3, 3});
  }
  CHECK(memory::stats().in_use == before);
}

TEST_CASE("autograd: backward from any shape, by the gradient that is given") {
  Tensor x = Tensor::from({3}, {1, -2, 3}).requires_grad();
  const Tensor dy = Tensor::from({3}, {10, 20, 30});
  mul(x, x).backward(dy);
  CHECK(x.grad().to_vector() == std::vector<double>{20, -80, 180});
  CHECK(dy.to_vector() == std::vector<double>{10, 20, 30});
  CHECK_THAT(error_of([&] { scale(x, 2).backward(Tensor::zeros({2})); }),
             Catch::Contains("(2)") && Catch::Contains("(3)"));
  CHECK_THAT(error_of([&] { sum(x).backward(Tensor()); }), Catch::Contains("backward: ") && Catch::Contains("empty"));
}

TEST_CASE("autograd: overwriting what a backward pass needs is an error that names the op") {
  Tensor x = leaf({1, 2, 3}), w = leaf({4, 5, 6});
  const auto overwritten = [](const Tensor& y) { return error_of([&] { sum(y).backward(); }); };
  {
    const Scope scope("block.conv1");
    const Tensor y = mul(x, w);
    w.copy_from(Tensor::zeros({3}));
    CHECK_THAT(overwritten(y), Catch::Contains("backward of mul in block.conv1") && Catch::Contains("(3)"));
  }
  {  // an op's output
    Tensor y = sigmoid(x);
    y.copy_from(x);
    CHECK_THAT(overwritten(y), Catch::Contains("backward of sigmoid"));
  }
  {  // weights, by an optimiser or an average
    const Tensor y = mul(x, w);
    w.set_grad(Tensor::full({3}, 1, w.dtype()));
    Sgd({{"w", w}}).step(0.1);
    CHECK_THAT(overwritten(y), Catch::Contains("backward of mul"));
    const Tensor z = mul(x, w);
    Adam({{"w", w}}).step(0.1);
    CHECK_THAT(overwritten(z), Catch::Contains("backward of mul"));
    Ema ema({{"w", w}}, 0.9);
    const Tensor v = mul(x, w);
    { const EmaScope scope(ema); }
    CHECK_THAT(overwritten(v), Catch::Contains("backward of mul"));
  }
  {  // what a gradient checkpoint computes again
    const Tensor y = gradient_checkpoint({x}, {w}, [&](const std::vector<Tensor>& in) { return mul(in[0], w); });
    w.copy_from(Tensor::zeros({3}));
    CHECK_THAT(overwritten(y), Catch::Contains("backward of gradient_checkpoint"));
  }
}

TEST_CASE("autograd: what a backward pass does not need may be overwritten") {
  Tensor x = leaf({1, 2, 3}), w = leaf({4, 5, 6}), seed = Tensor::zeros({3}, DType::f64);
  w.copy_from(x);  // before the op
  const Tensor y = mul(x, w), z = mul(x, w);
  Tensor total = add(y, z);
  total.copy_from(x);          // add needs neither its inputs nor its output
  seed.copy_from(w.detach());  // the gradient that backward() starts from
  total.backward(seed);
  CHECK(x.grad().to_vector() == std::vector<double>{2, 8, 18});
  // Gradients are scaled in place between two backward passes.
  const Tensor first = max_pool2d(reshape(x, {1, 1, 3, 1}), {1, 1, 0}), second = mul(x, w);
  sum(first).backward();
  clip_grad_norm({{"x", x}}, 1e-3);
  sum(second).backward();
  CHECK(x.grad().to_vector()[2] > 3);
  Sgd({{"x", x}, {"w", w}}).step(0.1);  // after the backward pass, and before the next forward pass
  sum(mul(x, w)).backward();
}

TEST_CASE("autograd: gradient checkpointing") {
  Tensor x = Tensor::from({2}, {1, -2}).requires_grad(), w = Tensor::from({2}, {3, 4}).requires_grad();
  int calls = 0, second = 0;
  const auto run = [&] {
    return gradient_checkpoint({x}, {w}, [&](const std::vector<Tensor>& in) {
      calls++, second += recomputing();
      return mul(mul(in[0], in[0]), w);
    });
  };
  const Tensor y = run();
  CHECK((calls == 1 && second == 0));
  sum(add(y, x)).backward();
  CHECK((calls == 2 && second == 1));
  CHECK_FALSE(recomputing());
  CHECK(x.grad().to_vector() == std::vector<double>{7, -15});  // 2 x w + 1
  CHECK(w.grad().to_vector() == std::vector<double>{1, 4});    // x^2
  {
    const NoGrad no_grad;
    CHECK_FALSE(run().needs_grad());
  }
  // No input needs a gradient, a parameter does.
  w.set_grad({});
  sum(gradient_checkpoint({x.detach()}, {w}, [&](const std::vector<Tensor>& in) { return mul(in[0], w); })).backward();
  CHECK(w.grad().to_vector() == std::vector<double>{1, -2});
  {  // An input that is not used, and a result that depends on nothing.
    Tensor unused = Tensor::from({2}, {5, 6}).requires_grad();
    const auto first = [](const std::vector<Tensor>& in) { return scale(in[0], 2); };
    x.set_grad({});
    sum(gradient_checkpoint({x, unused}, {}, first)).backward();
    CHECK(x.grad().to_vector() == std::vector<double>{2, 2});
    CHECK_FALSE(unused.grad());
    sum(gradient_checkpoint({x}, {}, [](const std::vector<Tensor>&) { return Tensor::zeros({2}); })).backward();
  }
  {  // A parameter that an op made would be reached by two backward passes at a time.
    const Tensor made = mul(w, w);
    CHECK_THAT(error_of([&] {
                 gradient_checkpoint({x}, {made}, [&](const std::vector<Tensor>& in) { return mul(in[0], made); });
               }),
               Catch::Contains("gradient_checkpoint: parameter (2)") && Catch::Contains("make it an input"));
  }
  {  // The second pass runs where the first did.
    std::vector<std::string> where;
    const ObserverScope observing([&](const Event& e) {
      if (e.when == When::forward && e.op == std::string("mul")) where.push_back(e.scope);
    });
    Tensor z;
    {
      const Scope scope("block");
      z = gradient_checkpoint({x}, {w}, [&](const std::vector<Tensor>& in) { return mul(in[0], w); });
    }
    sum(z).backward();
    CHECK(where == std::vector<std::string>{"block", "block"});
    CHECK(Scope::current().empty());
  }
  // An Error the second time leaves all as it should be.
  const auto fails = [&](const std::vector<Tensor>& in) {
    check(!recomputing(), "no");
    return mul(in[0], w);
  };
  CHECK(error_of([&] { sum(gradient_checkpoint({x}, {w}, fails)).backward(); }).starts_with("no"));
  CHECK_FALSE(recomputing());
  CHECK(scale(x, 2).needs_grad());
}

TEST_CASE("autograd: the observer sees every op in its scope, forward and backward") {
  constexpr const char* names[] = {"begins", "", "gradient", "backward", "work"};
  std::vector<std::string> seen, seen_within;
  const auto into = [&](std::vector<std::string>& list) {
    return [&](const Event& e) {
      list.push_back(
          text(names[int(e.when)], " ", e.op, " in '", e.scope, "' ", e.result ? e.result->shape() : Shape()));
    };
  };
  auto observing = std::make_unique<ObserverScope>(into(seen));
  const Tensor x = leaf({1, 2});
  Tensor y;
  {
    const Scope outer("encoder.0");
    {
      const Scope inner("conv1");
      CHECK(Scope::current() == "encoder.0.conv1");
      y = relu(x);
    }
    CHECK(Scope::current() == "encoder.0");
    CHECK_THAT(error_of([&] {
                 const Scope inner("lost");
                 fail("on the way");
               }),
               Catch::Contains("on the way"));
    CHECK(Scope::current() == "encoder.0");
  }
  {
    const ObserverScope another(into(seen_within));
    sum(y).backward();
  }
  {
    const NoGrad no_grad;
    const ProfileScope profile_scope("step");
    scale(x, 2);
  }
  observing.reset();
  scale(x, 2);
  CHECK(Scope::current().empty());
  const std::vector<std::string> within = {" sum in '' ()", "gradient sum in '' ()", "backward sum in '' ()",
                                           "gradient relu in 'encoder.0.conv1' (2)",
                                           "backward relu in 'encoder.0.conv1' ()"};
  CHECK(seen_within == within);
  std::vector<std::string> all = {"begins  in 'encoder.0' ()", "begins  in 'encoder.0.conv1' ()",
                                  " relu in 'encoder.0.conv1' (2)", "begins  in 'encoder.0.lost' ()"};
  all.insert(all.end(), within.begin(), within.end());
  all.insert(all.end(), {"begins step in '' ()", " scale in '' (2)", "work step in '' ()"});
  CHECK(seen == all);
}

// ---- random numbers -----------------------------------------------------------------------------------------------

TEST_CASE("random: uniform, normal, and the same numbers everywhere") {
  Random random(1);
  const int n = 100'000;
  double sum = 0, squares = 0, cubes = 0, fourth = 0, uniform_sum = 0, uniform_squares = 0, product = 0, last = 0;
  std::vector<int> bins(16);
  for (int i = 0; i < n; i++) {
    const double z = random.normal(), u = random.uniform();
    sum += z, squares += z * z, cubes += z * z * z, fourth += z * z * z * z;
    uniform_sum += u, uniform_squares += u * u, product += (u - 0.5) * (last - 0.5), last = u;
    if (!(u >= 0 && u < 1)) FAIL_CHECK("uniform gave " << u);
    bins[size_t(u * 16)]++;
  }
  const double sigma = 1 / std::sqrt(double(n));
  CHECK(std::abs(sum / n) < 4 * sigma);
  CHECK(std::abs(squares / n - 1) < 4 * std::sqrt(2) * sigma);
  CHECK(std::abs(cubes / n) < 4 * std::sqrt(15) * sigma);
  CHECK(std::abs(fourth / n - 3) < 4 * std::sqrt(96) * sigma);
  CHECK(std::abs(uniform_sum / n - 0.5) < 4 * sigma / std::sqrt(12));
  CHECK(std::abs(uniform_squares / n - 1. / 3) < 4 * 0.3 * sigma);
  CHECK(std::abs(product / n) < 4 * sigma / 12);
  double chi2 = 0;
  for (int count : bins) chi2 += (count - n / 16.) * (count - n / 16.) / (n / 16.);
  CHECK(chi2 < 45);  // 15 degrees of freedom: exceeded once in 13,000 times

  // Neighbouring seeds and places are not alike: half of the 64 bits differ.
  double differing = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    differing += std::popcount(random_bits(i, 0) ^ random_bits(i + 1, 0));
    differing += std::popcount(random_bits(7, i) ^ random_bits(7, i + 1));
  }
  CHECK(differing / 2000 == Approx(32).epsilon(0.02));
  for (int64_t i = 0; i < 1000; i++) {
    const int64_t k = random.below(3);
    if (k < 0 || k > 2) FAIL_CHECK("below(3) gave " << k);
  }
  // SplitMix64's mix, twice, of 0x9E37...: written down so that no machine or change makes other numbers of a seed.
  CHECK(random_bits(0, 0) == 0x48218226ff3cd4bfu);
  CHECK(random_bits(1, 2) == 0x713d5e4bcad3bebau);
}
