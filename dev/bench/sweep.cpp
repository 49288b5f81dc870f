// sweep: which tiling computes each 3x3 convolution of the seed network fastest on this GPU, and what the library's own
// rule chooses (tensor/conv/cuda/conv3x3.cu), as Markdown tables. Every tiling is checked first against the tiled
// kernel, with outputs full of NaN before; then several sets of tensors take turns in a recorded graph, and the median
// of its replays counts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/cli.h"
#include "dev/bench/bench.h"
#include "dev/bench/layers.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/memory.h"
#include "tensor/ops.h"

using namespace acinus;

namespace {

constexpr size_t sets = 4;
int64_t repeat = 5, calls = 10;
int wrong = 0;

struct Mode {
  const char* name;
  DType dtype;
  ConvAlgorithm algorithm;
  std::vector<int64_t> batches;
};
const Mode modes[] = {{"bfloat16", DType::bf16, ConvAlgorithm::tensor, {2, 8}},
                      {"TF32", DType::f32, ConvAlgorithm::tensor, {2, 8}},
                      {"float32", DType::f32, ConvAlgorithm::halo, {2}}};

enum class Sum { forward, data_gradient, weight_gradient };
const char* const titles[] = {"forward", "data gradient", "weight gradient"};

// The tensors of one layer, several times, and its three sums.
struct Work {
  ConvGeometry g;
  int64_t deep_channels;
  std::vector<SkipConcat> x;
  std::vector<Tensor> dy;
  Tensor w, bias, db;

  Work(const Layer& l, int64_t batch, const Mode& mode) : g(geometry(l, batch, mode.algorithm)), deep_channels(l.deep) {
    const auto random = [&](const Shape& shape, uint64_t seed) {
      return random_values(shape, seed).to(Device::cuda).to(mode.dtype);
    };
    x.push_back({random({batch, l.size, l.size, l.in}, 1),
                 l.deep ? random({batch, l.size / 2, l.size / 2, l.deep}, 2) : Tensor()});
    dy.push_back(random({batch, l.size, l.size, l.out}, 3));
    for (size_t i = 1; i < sets; i++) {
      x.push_back({x[0].skip.clone(), l.deep ? x[0].deep.clone() : Tensor()});
      dy.push_back(dy[0].clone());
    }
    w = random_values({3, 3, g.c, g.o}, 100).to(Device::cuda);
    bias = random_values({g.o}, 101).to(Device::cuda);
    db = Tensor::zeros({g.o}, DType::f32, Device::cuda);
  }

  // The result of one set; of a data gradient with `deep`, both parts.
  SkipConcat run(Sum sum, size_t set) const {
    if (sum == Sum::forward) return conv_forward(g, x[set], w, bias, {/*relu=*/true, {}});
    if (sum == Sum::data_gradient) return conv_data_gradient(g, dy[set], w, {}, deep_channels);
    return conv_weight_gradient(g, x[set], dy[set], db);
  }
};

// An image's part for `skip`, and that for `deep`, of which it has the sum of each 2x2: the gradient of
// concat(upsample2x(deep), skip) is just that. On the GPU, since such images are large.
SkipConcat split(const Tensor& image, const SkipConcat& shaped) {
  if (!shaped.deep) return {image, Tensor()};
  const Tensor skip = Tensor::zeros(shaped.skip.shape(), image.dtype(), Device::cuda).requires_grad();
  const Tensor deep = Tensor::zeros(shaped.deep.shape(), image.dtype(), Device::cuda).requires_grad();
  sum(mul(concat(upsample2x(deep), skip), image)).backward();
  return {skip.grad(), deep.grad()};
}

double relative_error(const SkipConcat& result, const Tensor& expected_image) {
  const SkipConcat expected = split(cast(expected_image, DType::f32), result);
  const auto square = [](const Tensor& x) { return sum(mul(x, x)).item(); };
  double difference = 0, norm = 0;
  for (const Tensor SkipConcat::*part : {&SkipConcat::skip, &SkipConcat::deep}) {
    if (!(result.*part)) continue;
    difference += square(add(cast(result.*part, DType::f32), scale(expected.*part, -1)));
    norm += square(expected.*part);
  }
  return std::sqrt(difference / norm);
}

double microseconds(const Work& work, Sum sum) {
  cuda::Graph graph;
  const auto replay = [&] {
    cuda::synchronize();
    const double start = seconds_now();
    graph.run([&] {
      for (int64_t i = 0; i < calls; i++) work.run(sum, size_t(i) % sets);
    });
    cuda::synchronize();
    return (seconds_now() - start) * 1e6 / double(calls);
  };
  for (int i = 0; i < 3; i++) replay();  // as it is, recorded, replayed
  std::vector<double> times;
  for (int64_t i = 0; i < repeat; i++) times.push_back(replay());
  return median(times);
}

// One line of a table: a layer, with the microseconds of the rule's tiling and of each that is possible.
struct Row {
  std::string name;
  double gflop, rule;
  std::vector<std::pair<std::string, double>> us;  // by the tiling's name
};

// The tilings of a sum: their names, or for a weight gradient how many channels a block computes.
std::vector<std::string> tilings(const Work& work, Sum sum, const Mode& mode) {
  if (sum == Sum::weight_gradient) return {"32", "64"};
  const auto names = [&](auto zero) {
    on_gpu::ConvSum<decltype(zero)> s{
        sum == Sum::forward ? work.g : work.g.transposed(), {nullptr, nullptr, 0}, nullptr};
    (sum == Sum::forward ? s.x.deep_channels : s.y.deep_channels) = work.deep_channels;
    return on_gpu::conv3x3_variants(s);
  };
  return mode.dtype == DType::bf16 ? names(bf16()) : names(float());
}

void force(Sum sum, const std::string& tiling) {  // or, if it is empty, leave it to the rule
  if (sum == Sum::weight_gradient)
    testing::weight_gradient_channels = tiling.empty() ? 0 : std::stoi(tiling);
  else
    testing::conv3x3_variant = tiling;
}

Row measure(const std::string& layer, const Work& work, Sum sum, const Mode& mode) {
  Work plain = work;
  plain.g.algorithm = ConvAlgorithm::tiled;
  plain.deep_channels = 0;  // the tiled kernel reads, and writes, one image
  if (work.deep_channels > 0) plain.x[0] = concat(upsample2x(work.x[0].deep), work.x[0].skip);
  const Tensor expected = plain.run(sum, 0).skip;
  Row row{layer, gflop_of(work.g), microseconds(work, sum), {}};
  for (const std::string& tiling : tilings(work, sum, mode)) {
    force(sum, tiling);
    memory::poison(true);
    const SkipConcat result = work.run(sum, 0);
    memory::poison(false);
    const double error = relative_error(result, expected);
    if (!(error < 0.01)) {
      std::printf("**%s of %s is wrong: relative error %.2g**\n\n", tiling.c_str(), layer.c_str(), error);
      wrong++;
    }
    row.us.push_back({tiling, microseconds(work, sum)});
    force(sum, "");
  }
  return row;
}

void print_table(const std::string& title, const std::vector<Row>& rows) {
  std::vector<std::string> columns;
  for (const Row& row : rows)
    for (const auto& [tiling, us] : row.us)
      if (std::find(columns.begin(), columns.end(), tiling) == columns.end()) columns.push_back(tiling);
  std::printf("\n### %s\n\n| layer | the rule's |", title.c_str());
  for (const std::string& c : columns) std::printf(" %s |", c.c_str());
  std::printf("\n|---|---|");
  for (size_t i = 0; i < columns.size(); i++) std::printf("---|");
  double rule = 0, best = 0, gflop = 0;
  for (const Row& row : rows) {
    double fastest = row.rule;
    for (const auto& [tiling, us] : row.us) fastest = std::min(fastest, us);
    std::printf("\n| %s | %.1f (%.0f) |", row.name.c_str(), row.rule, row.gflop / row.rule * 1e3);
    for (const std::string& c : columns) {
      const auto found =
          std::find_if(row.us.begin(), row.us.end(), [&](const auto& entry) { return entry.first == c; });
      if (found == row.us.end()) {
        std::printf(" - |");
        continue;
      }
      const double us = found->second;
      const char* bold = us <= fastest ? "**" : "";
      std::printf(" %s%.1f (%.0f)%s |", bold, us, row.gflop / us * 1e3, bold);
    }
    rule += row.rule, best += fastest, gflop += row.gflop;
  }
  std::printf("\n\nTogether %.0f us by the rule (%.0f TFLOP/s), %.0f by the best of each row.\n", rule,
              gflop / rule * 1e3, best);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    int64_t size = 512, width = 32, depth = 4;
    bool quick = false;
    Settings settings("sweep", "Times each tiling of the GPU's 3x3 convolutions on the layers of a U-Net.");
    settings.add("size", size, "rows and columns of the network's image, a multiple of 16").between(16, 4096);
    settings.add("width", width, "of the network, a multiple of 32").between(32, 512);
    settings.add("repeat", repeat, "timings of each").between(1, 1000);
    settings.add("quick", quick, "tiny sizes: does it run at all?");
    settings.on_defaults([&] {
      if (quick) size = 16, width = 32, depth = 1, repeat = 1, calls = 1;
    });
    if (!settings.parse(argc, argv)) return 0;
    if (size % (int64_t(1) << depth) != 0) fail("--size ", size, " must be a multiple of ", 1 << depth);
    if (width % 32 != 0) fail("--width ", width, " must be a multiple of 32, as the 3x3 kernels demand");
    Tensor::zeros({1}, DType::f32, Device::cuda);  // throws an Error without a GPU
    if (!cuda::has_tensor_cores()) fail("bench_sweep needs tensor cores for bfloat16; this is ", cuda::description());
    const std::vector<Layer> layers = seed_network(size, width, depth);
    std::printf("Microseconds, with packing the weights (TFLOP/s of the direct form); %s.\n",
                cuda::description().c_str());
    const Sum sums[] = {Sum::forward, Sum::data_gradient, Sum::weight_gradient};
    for (const Mode& mode : modes)
      for (const int64_t batch : quick ? std::vector<int64_t>{1} : mode.batches) {
        std::vector<Row> rows[3];
        for (const Layer& layer : layers) {
          if (layer.first) continue;
          const Work work(layer, batch, mode);
          for (const Sum sum : sums) rows[int(sum)].push_back(measure(layer.name, work, sum, mode));
        }
        for (const Sum sum : sums)
          print_table(text(titles[int(sum)], ", ", mode.name, ", batch ", batch), rows[int(sum)]);
      }
    return wrong > 0 ? 1 : 0;
  });
}
