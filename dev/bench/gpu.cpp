// gpu: how near the kernels come to what the GPU can do, as Markdown tables. Two numbers bound them: how fast its
// tensor cores multiply bfloat16 (--ceiling-tflops), and how fast its memory reads and writes (--ceiling-gbs). Both are
// measured on the same GPU by torch_gpu.py; without them the shares are left out.
//
//   1  the 3x3 convolutions of the seed network's training step, in bfloat16 on tensor cores, fused as in the step
//   2  one convolution by each of our kernels, from the plainest to the fastest
//   3  ops that are bound by memory
//
// Every number is the median of several timings, each of as many calls as take some milliseconds: so what asking for a
// kernel costs the CPU is hidden behind the kernels before it. In the tables of convolutions a call sees the tensors of
// the call before. Deep in the network these are small enough to be in the GPU's cache still; but so they are in a
// training step, where the layer before has just written them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "apps/common/cli.h"
#include "dev/bench/bench.h"
#include "dev/bench/layers.h"
#include "optim/adam.h"
#include "tensor/conv/conv.h"
#include "tensor/cuda/device.h"
#include "tensor/ops.h"

using namespace acinus;

namespace {

int64_t repeat = 15;
double group_seconds = 5e-3;  // what one timing should take
double ceiling_tflops = 0, ceiling_gbs = 0;

double seconds_of_calls(int64_t calls, const std::function<void()>& f) {
  cuda::synchronize();
  const double start = seconds_now();
  for (int64_t i = 0; i < calls; i++) f();
  cuda::synchronize();
  return seconds_now() - start;
}

double milliseconds(const std::function<void()>& f) {
  f();  // the first call may have to ask the system for memory
  const double estimate = seconds_of_calls(1, f);
  const auto calls = int64_t(std::clamp(group_seconds / estimate, 1., 200.));
  std::vector<double> times;
  for (int64_t i = 0; i < repeat; i++) times.push_back(seconds_of_calls(calls, f) / double(calls) * 1e3);
  return median(times);
}

// "43 %" of the ceiling, or "-" if that is not known.
std::string share(double rate, double ceiling) {
  char out[32] = "-";
  if (ceiling > 0) std::snprintf(out, sizeof out, "%.0f %%", 100 * rate / ceiling);
  return out;
}

Tensor on_gpu(const Shape& shape, uint64_t seed, DType dtype = DType::bf16) {
  return random_values(shape, seed).to(Device::cuda).to(dtype);
}

// ---- convolutions -----------------------------------------------------------------------------------------------

void print_convolutions(int64_t size, int64_t batch, int64_t width, int64_t depth) {
  struct Total {
    double gflop = 0, ms = 0;
    void add(double more_gflop, double more_ms) { gflop += more_gflop, ms += more_ms; }
    void print() const {
      const double tflops = ms > 0 ? gflop / ms : 0;
      std::printf(" %.4f | %.1f | %s |", ms, tflops, share(tflops, ceiling_tflops).c_str());
    }
  };
  Total totals[3], all;
  std::printf(
      "| layer | image | channels | GFLOP | forward ms | TFLOP/s | share | data gradient ms | TFLOP/s | share "
      "| weight gradient ms | TFLOP/s | share |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Layer& layer : seed_network(size, width, depth)) {
    const ConvGeometry g = geometry(layer, batch, ConvAlgorithm::tensor);
    const int64_t n = batch, s = layer.size;
    const Tensor x = on_gpu({n, s, s, layer.in}, 1), dy = on_gpu({n, s, s, layer.out}, 2);
    const Tensor w = on_gpu({3, 3, g.c, g.o}, 3, DType::f32), bias = on_gpu({g.o}, 4, DType::f32);
    const Tensor deep = layer.deep ? on_gpu({n, s / 2, s / 2, layer.deep}, 5) : Tensor();
    ConvEpilogue epilogue{/*relu=*/true, Tensor()};
    if (layer.pool) epilogue.pooled = Tensor({n, s / 2, s / 2, g.o}, DType::bf16, Device::cuda);
    const double gflop = gflop_of(g);
    std::printf("| %s | %ld² | %ld → %ld | %.2f |", layer.name.c_str(), long(s), long(g.c), long(g.o), gflop);
    const auto print = [&](size_t sum, const std::function<void()>& f) {
      Total one;
      one.add(gflop, milliseconds(f));
      one.print();
      totals[sum].add(one.gflop, one.ms);
      all.add(one.gflop, one.ms);
    };
    print(0, [&] { conv_forward(g, {x, deep}, w, bias, epilogue); });
    if (layer.first)
      std::printf(" - | - | - |");
    else
      print(1, [&] { conv_data_gradient(g, dy, w, {}, layer.deep); });
    print(2, [&] { conv_weight_gradient(g, {x, deep}, dy); });
    std::printf("\n");
  }
  std::printf("| together | | | %.2f |", all.gflop);
  for (const Total& total : totals) total.print();
  std::printf("\n\nAll of a step's 3x3 convolutions: %.1f GFLOP in %.3f ms, %.1f TFLOP/s", all.gflop, all.ms,
              all.gflop / all.ms);
  if (ceiling_tflops > 0)
    std::printf(": a share of %.3f of the ceiling (target: at least 0.40)", all.gflop / all.ms / ceiling_tflops);
  std::printf(".\n");
}

void print_ladder(int64_t size, int64_t batch) {
  struct Step {
    const char* name;
    ConvAlgorithm algorithm;
    DType dtype;
    const char* numbers;
  };
  const Step steps[] = {{"direct", ConvAlgorithm::direct, DType::f32, "float32"},
                        {"tiled", ConvAlgorithm::tiled, DType::f32, "float32"},
                        {"halo", ConvAlgorithm::halo, DType::f32, "float32"},
                        {"tensor", ConvAlgorithm::tensor, DType::f32, "TF32"},
                        {"tensor", ConvAlgorithm::tensor, DType::bf16, "bfloat16"}};
  const Layer layer{"", size, 0, 64, 64, false, false};
  std::printf("| kernel | numbers | ms | TFLOP/s | share of the ceiling | times as fast as the one above |\n");
  std::printf("|---|---|---|---|---|---|\n");
  double before = 0;
  for (const Step& step : steps) {
    const ConvGeometry g = geometry(layer, batch, step.algorithm);
    const Tensor x = on_gpu({batch, size, size, g.c}, 1, step.dtype), w = on_gpu({3, 3, g.c, g.o}, 2, DType::f32);
    const double ms = milliseconds([&] { conv_forward(g, x, w); }), tflops = gflop_of(g) / ms;
    std::printf("| %s | %s | %.4f | %.2f | %s |", step.name, step.numbers, ms, tflops,
                share(tflops, ceiling_tflops).c_str());
    if (before > 0)
      std::printf(" %.1f |\n", before / ms);
    else
      std::printf(" |\n");
    before = ms;
  }
}

// ---- ops that are bound by memory -------------------------------------------------------------------------------

void print_row(const char* op, DType dtype, const Shape& shape, double bytes, double ms) {
  const double gbs = bytes / ms / 1e6;
  std::printf("| %s | %s | %s | %.1f | %.4f | %.0f | %s |\n", op, name(dtype), text(shape).c_str(), bytes / 1e6, ms,
              gbs, share(gbs, ceiling_gbs).c_str());
}

// Several inputs and outputs take turns, so that none is still in the GPU's cache when it comes round again.
constexpr size_t turns = 6;

void time_op(const char* op, const Shape& shape, DType dtype, const std::function<Tensor(const Tensor&)>& f) {
  std::vector<Tensor> in, out(turns);
  const Tensor x = on_gpu(shape, 1, dtype);
  for (size_t k = 0; k < turns; k++) in.push_back(x.clone());
  size_t turn = 0;
  const double ms = milliseconds([&] {
    out[turn] = f(in[turn]);
    turn = (turn + 1) % turns;
  });
  const double bytes = double(x.elements() + out[0].elements()) * double(size_of(dtype));
  print_row(op, dtype, shape, bytes, ms);
}

void print_memory_bound(int64_t size, int64_t batch, int64_t channels) {
  const NoGrad no_grad;
  const Shape shape{batch, size, size, channels}, half{batch, size / 2, size / 2, channels};
  std::printf("| op | type | input | MB read and written | ms | GB/s | share of the ceiling |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (DType dtype : {DType::bf16, DType::f32}) {
    const Tensor ones = Tensor::full({channels}, 1, DType::f32, Device::cuda);
    const Tensor zeros = Tensor::zeros({channels}, DType::f32, Device::cuda);
    time_op("relu", shape, dtype, [](const Tensor& x) { return relu(x); });
    time_op("max_pool2d", shape, dtype, [](const Tensor& x) { return max_pool2d(x); });
    time_op("upsample2x", half, dtype, [](const Tensor& x) { return upsample2x(x); });
    time_op("batch_norm2d", shape, dtype, [&](const Tensor& x) { return batch_norm2d(x, ones, zeros, {}, {}); });
  }
  {
    const Tensor p = on_gpu(shape, 1, DType::f32), t = on_gpu(shape, 2, DType::f32);
    const double ms = milliseconds([&] { dice_loss(p, t); });
    print_row("dice_loss", DType::f32, shape, 2. * 4 * double(p.elements()), ms);
  }
  Tensor p = on_gpu(shape, 1, DType::f32);
  p.requires_grad();
  p.set_grad(on_gpu(shape, 2, DType::f32));
  Adam adam({{"p", p}});
  const double ms = milliseconds([&] { adam.step(1e-5); });
  print_row("adam", DType::f32, shape, 7. * 4 * double(p.elements()), ms);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    int64_t size = 512, batch = 2, width = 32, depth = 4;
    bool quick = false;
    Settings settings("gpu", "Times the kernels on the GPU beside what it can do.");
    settings.add("size", size, "rows and columns of the network's image, a multiple of 16").between(16, 4096);
    settings.add("batch", batch, "images a step").between(1, 256);
    settings.add("repeat", repeat, "timings of each").between(1, 1000);
    settings.add("ceiling-tflops", ceiling_tflops, "bfloat16 TFLOP/s of tensor cores; 0: not known").between(0, 1e6);
    settings.add("ceiling-gbs", ceiling_gbs, "GB/s of the memory, read and written; 0: not known").between(0, 1e6);
    settings.add("quick", quick, "tiny sizes: does it run at all?");
    settings.on_defaults([&] {
      if (quick) size = 16, batch = 1, width = 32, depth = 1, repeat = 1, group_seconds = 0;
    });
    if (!settings.parse(argc, argv)) return 0;
    if (size % (int64_t(1) << depth) != 0) fail("--size ", size, " must be a multiple of ", 1 << depth);
    Tensor::zeros({1}, DType::f32, Device::cuda);  // throws an Error without a GPU
    if (!cuda::has_tensor_cores()) fail("bench_gpu needs tensor cores for bfloat16; this is ", cuda::description());
    std::printf("%s.", cuda::description().c_str());
    if (ceiling_tflops > 0) std::printf(" Ceiling of tensor cores: %.4g TFLOP/s in bfloat16.", ceiling_tflops);
    if (ceiling_gbs > 0) std::printf(" Ceiling of the memory: %.4g GB/s.", ceiling_gbs);
    std::printf("\n\n");

    std::printf("### The convolutions of a training step\n\n");
    std::printf(
        "The seed network's (width %ld, depth %ld, image %ldx%ld, batch %ld), in bfloat16 on tensor cores, with bias, "
        "ReLU, pooling and upsampling where the step has them. A share is of the bfloat16 ceiling. Small tensors may "
        "be in the GPU's cache, as they may be in the step.\n\n",
        long(width), long(depth), long(size), long(size), long(batch));
    print_convolutions(size, batch, width, depth);

    const int64_t ladder_size = std::max<int64_t>(size / 2, 8);
    std::printf("\n### One convolution, kernel by kernel\n\nForward, %ldx%ld, 64 → 64 channels, batch %ld.\n\n",
                long(ladder_size), long(ladder_size), long(batch));
    print_ladder(ladder_size, batch);

    std::printf("\n### Ops that are bound by memory\n\n");
    std::printf(
        "Each input counts as read once and each output as written once. Batch norm has to read its input twice, so it "
        "cannot pass two thirds; so has Dice loss, which makes two sums and cannot pass half. Adam reads four numbers "
        "and writes three for each parameter.\n\n");
    print_memory_bound(size, batch, width);
    return 0;
  });
}
