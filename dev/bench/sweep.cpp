// sweep: which tiling computes each 3x3 convolution of the seed network fastest on this GPU, and what the library's own rule
// chooses (tensor/conv/cuda/conv3x3.cu), as Markdown tables. Every tiling is checked first against the tiled kernel, with
// outputs full of NaN before; then several sets of tensors take turns in a recorded graph, and the median of its replays counts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "apps/common/cli.h"
#include "dev/bench/bench.h"
#include "dev/bench/layers.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/memory.h"

using namespace acinus;

namespace {

constexpr size_t sets = 4;
int64_t repeat = 5, calls = 20;
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
      return random_values(shape, seed).to(mode.dtype).to(Device::cuda);
    };
    for (size_t i = 0; i < sets; i++) {
      x.push_back({random({batch, l.size, l.size, l.in}, 3 * i),
                   l.deep ? random({batch, l.size / 2, l.size / 2, l.deep}, 3 * i + 1) : Tensor()});
      dy.push_back(random({batch, l.size, l.size, l.out}, 3 * i + 2));
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

// Of `a`, beside one image `b`: its last channels are a.skip's, and 2x2 sums of the others are a.deep's.
double relative_error(const SkipConcat& a, const Tensor& b) {
  const std::vector<double> expected = b.to_vector();
  const int64_t all = b.shape()[-1];
  double difference = 0, norm = 0;
  const auto compare = [&](double actual, double wanted) {
    difference += (actual - wanted) * (actual - wanted);
    norm += wanted * wanted;
  };
  const std::vector<double> skip = a.skip.to_vector();
  const int64_t channels = a.skip.shape()[-1];
  for (int64_t i = 0; i < int64_t(skip.size()); i++)
    compare(skip[i], expected[i / channels * all + all - channels + i % channels]);
  if (a.deep) {
    const std::vector<double> deep = a.deep.to_vector();
    const int64_t own = a.deep.shape()[-1], width = a.deep.shape()[2];
    for (int64_t i = 0; i < int64_t(deep.size()); i++) {
      const int64_t row = i / own / width, column = i / own % width, c = i % own;
      const auto at = [&](int64_t r, int64_t q) {
        return expected[((2 * row + r) * 2 * width + 2 * column + q) * all + c];
      };
      compare(deep[i], at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1));
    }
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

void print_table(Sum sum, const Mode& mode, int64_t batch, const std::vector<Layer>& layers) {
  const bool wgrad = sum == Sum::weight_gradient;
  std::printf("\n### %s, %s, batch %ld\n\n", titles[int(sum)], mode.name, long(batch));
  std::vector<std::string> columns;
  struct Row {
    std::string name;
    double gflop, own;
    std::map<std::string, double> us;
  };
  std::vector<Row> rows;
  for (const Layer& layer : layers) {
    if (layer.first) continue;
    const Work work(layer, batch, mode);
    const auto names = [&](auto zero) {
      using T = decltype(zero);
      if (wgrad) return std::vector<std::string>{"32", "64"};  // channels of a block
      on_gpu::ConvSum<T> s{sum == Sum::forward ? work.g : work.g.transposed(), {nullptr, nullptr, 0}, nullptr};
      (sum == Sum::forward ? s.x.deep_channels : s.y.deep_channels) = layer.deep;
      if constexpr (std::is_same_v<T, float>)
        if (mode.algorithm == ConvAlgorithm::halo) return on_gpu::conv3x3_f32_variants(s);
      return on_gpu::conv3x3_variants(s);
    };
    const std::vector<std::string> variants = mode.dtype == DType::bf16 ? names(bf16()) : names(float());
    const auto force = [&](const std::string& variant) {
      (wgrad ? void(testing::weight_gradient_channels = variant.empty() ? 0 : std::stoi(variant))
             : void(testing::conv3x3_variant = variant));
    };
    Row row{layer.name, gflop_of(work.g), microseconds(work, sum), {}};
    Work plain = work;
    plain.g.algorithm = ConvAlgorithm::tiled;
    plain.deep_channels = 0;  // the tiled kernel reads, and writes, one image
    if (layer.deep) plain.x[0] = concat(upsample2x(work.x[0].deep), work.x[0].skip);
    const Tensor expected = plain.run(sum, 0).skip;
    for (const std::string& variant : variants) {
      if (std::find(columns.begin(), columns.end(), variant) == columns.end()) columns.push_back(variant);
      force(variant);
      memory::poison(true);
      const SkipConcat result = work.run(sum, 0);
      memory::poison(false);
      const double error = relative_error(result, expected);
      if (!(error < 0.01)) {
        std::printf("**%s of %s is wrong: relative error %.2g**\n\n", variant.c_str(), layer.name.c_str(), error);
        wrong++;
      }
      row.us[variant] = microseconds(work, sum);
      force("");
    }
    rows.push_back(row);
  }
  std::printf("| layer | the rule's |");
  for (const std::string& c : columns) std::printf(" %s |", c.c_str());
  std::printf("\n|---|---|");
  for (size_t i = 0; i < columns.size(); i++) std::printf("---|");
  double own = 0, best = 0, gflop = 0;
  for (const Row& row : rows) {
    double fastest = row.own;
    for (const auto& [name, us] : row.us) fastest = std::min(fastest, us);
    std::printf("\n| %s | %.1f (%.0f) |", row.name.c_str(), row.own, row.gflop / row.own * 1e3);
    for (const std::string& c : columns) {
      const auto us = row.us.find(c);
      if (us == row.us.end()) {
        std::printf(" - |");
        continue;
      }
      const char* bold = us->second <= fastest ? "**" : "";
      std::printf(" %s%.1f (%.0f)%s |", bold, us->second, row.gflop / us->second * 1e3, bold);
    }
    own += row.own, best += fastest, gflop += row.gflop;
  }
  std::printf("\n\nTogether %.0f us by the rule (%.0f TFLOP/s), %.0f by the best of each row.\n", own,
              gflop / own * 1e3, best);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    int64_t size = 512, width = 32, depth = 4;
    bool quick = false;
    Settings settings("sweep", "Times each tiling of the GPU's 3x3 convolutions on the layers of a U-Net.");
    settings.add("size", size, "rows and columns of the network's image, a multiple of 16").between(16, 4096);
    settings.add("width", width, "of the network").between(8, 512);
    settings.add("repeat", repeat, "timings of each").between(1, 1000);
    settings.add("quick", quick, "tiny sizes: does it run at all?");
    settings.on_defaults([&] {
      if (quick) size = 16, width = 32, depth = 1, repeat = 1, calls = 1;
    });
    if (!settings.parse(argc, argv)) return 0;
    Tensor::zeros({1}, DType::f32, Device::cuda);  // throws an Error if there is no GPU
    if (!cuda::has_tensor_cores()) fail("bench_sweep needs tensor cores for bfloat16; this is ", cuda::description());
    const std::vector<Layer> layers = seed_network(size, width, depth);
    std::printf("Microseconds, with packing the weights (TFLOP/s of the direct form); %s.\n",
                cuda::description().c_str());
    for (const Mode& mode : modes)
      for (const int64_t batch : quick ? std::vector<int64_t>{1} : mode.batches)
        for (const Sum sum : {Sum::forward, Sum::data_gradient, Sum::weight_gradient})
          print_table(sum, mode, batch, layers);
    return wrong > 0 ? 1 : 0;
  });
}
