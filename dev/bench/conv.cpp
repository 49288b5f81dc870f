// conv: times every convolution of the seed network's training step by Winograd's algorithm and by im2col, as a Markdown
// table. GFLOP/s count the multiplications and additions of the direct form, 2 N OH OW KH KW C O; the share is of what
// a loop of nothing but multiply-adds in registers reaches on this machine. Winograd's may exceed 100 %, since it needs
// only a quarter of the multiplications.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "apps/common/cli.h"
#include "apps/common/machine.h"
#include "dev/bench/bench.h"
#include "tensor/conv/conv.h"
#include "tensor/conv/cpu/simd.h"
#include "tensor/parallel.h"

using namespace acinus;

namespace {

// Independent multiply-adds, in three quarters of the registers: more sums than the units have pipeline stages. The best
// of a few attempts, since other programs can only make it slower.
double peak_gflops() {
  constexpr int rows = 3, columns = vector_registers / 4;  // compilers unroll short loops only
  constexpr int64_t rounds = 2'000'000;
  double best = 0;
  for (int attempt = 0; attempt < 5; attempt++) {
    const double start = seconds_now();
    parallel(max_threads(), true, [&](int64_t) {
      Vector<float> sum[rows][columns];
      for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
          sum[r][c] = Vector<float>{} + float(r * columns + c);  // equal ones would merge
      const Vector<float> a = Vector<float>{} + 0.9999f, b = Vector<float>{} + 0.5f;
      for (int64_t i = 0; i < rounds; i++)
        for (int r = 0; r < rows; r++)
          for (int c = 0; c < columns; c++) sum[r][c] = sum[r][c] * a + b;
      volatile float used = 0;
      for (auto& row : sum)
        for (auto& s : row) used = used + s[0];
    });
    const double operations = 2. * rows * columns * double(lanes<float>) * double(rounds) * max_threads();
    best = std::max(best, operations / (seconds_now() - start) / 1e9);
  }
  return best;
}

struct Layer {
  std::string name;
  int64_t size, in, out, kernel;
};

struct Line {
  std::string begin;                // the line without its share of the peak
  std::vector<double> chosen_rate;  // GFLOP/s of the three sums
};

// The algorithms take turns, so that a machine whose speed drifts is fair to them.
Line time_layer(const Layer& layer, int64_t batch, int64_t repeat) {
  const int64_t size = layer.size, k = layer.kernel;
  ConvGeometry g{batch, size, size, layer.in, size, size, layer.out, k, k, 1, k / 2, 1};
  const Tensor x = random_values({batch, size, size, layer.in}, 1), w = random_values({k, k, layer.in, layer.out}, 2),
               bias = random_values({layer.out}, 3), dy = random_values({batch, size, size, layer.out}, 4);
  choose_algorithm("conv", g, ConvAlgorithm::automatic, x);
  const ConvAlgorithm chosen = g.algorithm;

  const ConvAlgorithm algorithms[] = {ConvAlgorithm::winograd, ConvAlgorithm::im2col};
  const auto can = [&](size_t a) { return k == 3 || algorithms[a] != ConvAlgorithm::winograd; };
  std::vector<double> seconds[2][3];     // [algorithm][sum]
  for (int64_t i = 0; i <= repeat; i++)  // the first time does not count
    for (size_t a = 0; a < 2; a++) {
      if (!can(a)) continue;
      g.algorithm = algorithms[a];
      const auto time = [&](size_t sum, auto f) {
        const double start = seconds_now();
        f();
        if (i > 0) seconds[a][sum].push_back(seconds_now() - start);
      };
      time(0, [&] { conv_forward(g, x, w, bias); });
      time(1, [&] { conv_data_gradient(g, dy, w); });
      time(2, [&] { conv_weight_gradient(g, x, dy); });
    }

  const double gflop = 2e-9 * double(batch * size * size * k * k) * double(layer.in * layer.out);
  Line line{text("| ", layer.name, " | ", size, "² | ", layer.in, " → ", layer.out, " |"), {}};
  for (size_t a = 0; a < 2; a++) {
    const char* bold = algorithms[a] == chosen ? "**" : "";
    line.begin += text(" ", bold);
    for (size_t sum = 0; sum < 3 && can(a); sum++) {
      const double rate = gflop / median(seconds[a][sum]);
      line.begin += text(sum > 0 ? " / " : "", std::lround(rate));
      if (algorithms[a] == chosen) line.chosen_rate.push_back(rate);
    }
    line.begin += text(can(a) ? "" : "-", bold, " |");
  }
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    int64_t size = 512, batch = 2, repeat = 5, threads = 0;
    Settings settings("conv", "Times the convolutions of the seed network by every algorithm.");
    settings.add("size", size, "rows and columns of the network's image, a multiple of 16").between(16, 4096);
    settings.add("batch", batch, "images a step").between(1, 256);
    settings.add("repeat", repeat, "timed repetitions, after one that is not").between(1, 1000);
    add_threads_setting(settings, threads);
    if (!settings.parse(argc, argv)) return 0;
    const int used = use_threads(threads);
    const int64_t width = 32, depth = 4;
    std::vector<Layer> layers;  // the second convolution of a decoder's block has the shape of its encoder's
    for (int64_t level = 0; level <= depth; level++) {
      const int64_t side = size >> level, channels = width << level;
      layers.push_back({text("encoder.", level, ".conv1"), side, level == 0 ? 1 : channels / 2, channels, 3});
      layers.push_back({text("encoder.", level, ".conv2"), side, channels, channels, 3});
      if (level < depth)  // reads the upsampled deeper level and the skip connection
        layers.push_back({text("decoder.", depth - 1 - level, ".conv1"), side, 3 * channels, channels, 3});
    }
    layers.push_back({"head", size, width, 1, 1});
    double peak = 0;
    std::vector<Line> lines;
    for (const Layer& layer : layers) {
      peak = std::max(peak, peak_gflops());  // measured repeatedly: the machine may be busy at first
      lines.push_back(time_layer(layer, batch, repeat));
    }
    std::printf(
        "%d thread%s, multiply-adds in registers: %.0f GFLOP/s. In each column: forward / data gradient / "
        "weight gradient.\n\n",
        used, used == 1 ? "" : "s", peak);
    std::printf("| layer | image | channels | Winograd GFLOP/s | im2col | share of the peak (bold) |\n");
    std::printf("|---|---|---|---|---|---|\n");
    for (const auto& [begin, rate] : lines) {
      const auto share = [&, &rate = rate](size_t sum) { return std::lround(100 * rate[sum] / peak); };
      std::printf("%s %ld %% / %ld %% / %ld %% |\n", begin.c_str(), share(0), share(1), share(2));
    }
    return 0;
  });
}
