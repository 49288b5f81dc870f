#include "apps/prediction/segment.h"

#include <algorithm>
#include <utility>

#include "data/sampling/augment.h"
#include "tensor/ops.h"
#include "tensor/parallel.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

void check_networks(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels) {
  check(!networks.empty(), "segment: no network");
  const Segmenter& first = networks[0];
  for (const auto& [net, format] : networks) {
    check(net->options().in == format.planes * image.channels, "segment: the network takes ", net->options().in,
          " channels; ", format.planes, " planes of a scan with ", image.channels, " channels do not fit it");
    check(!format.lungs || labels, "segment: the lungs are needed, but were not given");
    check(format.lungs == first.format.lungs && net->options().out == first.net->options().out,
          "segment: cannot average networks with ", first.net->options().out, " and ", net->options().out,
          " classes, or with and without a lung mask");
  }
}

// What the networks see of a scan: the same box of every slice, and only some slices.
struct Region {
  Rectangle box;
  std::vector<bool> slices;
};

// Without lungs, which `labels` mark, the whole scan; otherwise the lungs and a margin. The box starts and ends at
// multiples of what the networks' pooling reduces to one pixel, so that they pool the same squares as on the whole slice.
Region region_of(const Grid& grid, const uint8_t* labels, int64_t multiple) {
  const auto [cols, rows, slices] = grid.size;
  if (!labels) return {{0, 0, cols, rows}, std::vector<bool>(slices, true)};
  struct Bounds {
    int64_t left, right = -1, top, bottom = -1;
  };
  std::vector<Bounds> of_slices(slices, Bounds{.left = cols, .top = rows});
  parallel(slices, /*pays=*/true, [&, cols = cols, rows = rows](int64_t z) {
    Bounds& b = of_slices[z];
    for (int64_t y = 0; y < rows; y++) {
      const uint8_t* const row = labels + grid.offset(0, y, z);
      int64_t first = 0, last = cols - 1;
      while (first < cols && !(row[first] & kLungs)) first++;
      if (first == cols) continue;
      while (!(row[last] & kLungs)) last--;
      b.left = std::min(b.left, first), b.right = std::max(b.right, last), b.top = std::min(b.top, y), b.bottom = y;
    }
  });
  Region region{{0, 0, 0, 0}, std::vector<bool>(slices)};
  int64_t left = cols, right = -1, top = rows, bottom = -1;
  for (int64_t z = 0; z < slices; z++) {
    const Bounds& b = of_slices[z];
    left = std::min(left, b.left), right = std::max(right, b.right);
    top = std::min(top, b.top), bottom = std::max(bottom, b.bottom);
    region.slices[z] = b.right >= 0;
  }
  if (right < 0) return region;
  const auto begin = [&](int64_t low) { return std::max<int64_t>(0, low - kLungMargin) / multiple * multiple; };
  const auto size = [&](int64_t from, int64_t high, int64_t max) {
    const int64_t end = std::min(max, high + 1 + kLungMargin);
    return std::min(max - from, (end - from + multiple - 1) / multiple * multiple);
  };
  region.box.left = begin(left), region.box.top = begin(top);
  region.box.cols = size(region.box.left, right, cols), region.box.rows = size(region.box.top, bottom, rows);
  return region;
}

// x (N,H,W,C), on the CPU, with its rows or columns in reverse order.
Tensor mirrored(const Tensor& x, bool rows, bool cols) {
  if (!rows && !cols) return x;
  Tensor y(x.shape());
  const int64_t h = x.shape()[1], w = x.shape()[2], c = x.shape()[3];
  for (int64_t n = 0; n < x.shape()[0]; n++)
    for (int64_t i = 0; i < h; i++)
      for (int64_t j = 0; j < w; j++)
        std::copy_n(x.data<float>() + ((n * h + i) * w + j) * c, c,
                    y.data<float>() + ((n * h + (rows ? h - 1 - i : i)) * w + (cols ? w - 1 - j : j)) * c);
  return y;
}

// The mean probabilities (slice, row, column, class) of these slices in the box, over the networks and the mirror images.
Tensor mean_probabilities(const std::vector<Segmenter>& networks, const ScanView& image, const Rectangle& box,
                          const std::vector<int64_t>& slices, const SegmentOptions& options) {
  std::vector<std::pair<bool, bool>> mirrors{{false, false}};  // of rows, of columns
  if (options.mirror) mirrors = {{false, false}, {false, true}, {true, false}, {true, true}};
  const auto n = int64_t(slices.size());
  const double weight = 1 / double(networks.size() * mirrors.size());
  Tensor mean = Tensor::zeros({n, box.rows, box.cols, networks[0].net->options().out});
  if (n == 0) return mean;
  for (const auto& [net, format] : networks) {
    const Device device = net->parameters()[0].second.device();
    const int64_t channels = net->options().in;
    Tensor x({n, box.rows, box.cols, channels});
    {
      const ProfileScope profile_scope("copy_planes");
      parallel(n * box.rows, /*pays=*/true, [&, &format = format](int64_t row) {
        copy_planes(image, slices[row / box.rows], format.planes, format.window, box.left, box.top + row % box.rows,
                    box.cols, 1, x.data<float>() + row * box.cols * channels);
      });
    }
    for (const auto& [rows, cols] : mirrors) {
      const Tensor input = cast(mirrored(x, rows, cols).to(device), options.activations);
      const Tensor p = sigmoid(cast((*net)(input), DType::f32)).to(Device::cpu);
      mean.accumulate(scale(mirrored(p, rows, cols), weight));
    }
  }
  return mean;
}

// How many slices to run at once. On a GPU 8, as one does not fill it. On the CPU, small images leave threads without
// work: at 160x160 pixels, four at once take 0.7 of the time of one by one, eight hardly less; a chest scan's box of
// 360x480 is large enough by itself. With fewer than 8 Winograd tiles in an image, the convolution's algorithm depends
// on how many there are in the batch (tensor/conv/conv.cpp), and so would the last bits of a slice.
int64_t slices_at_once(const Rectangle& box, int64_t depth, bool gpu) {
  if (gpu) return 8;
  const auto tiles = [&](int64_t side) { return ((side >> depth) + 3) / 4; };
  if (tiles(box.rows) * tiles(box.cols) < 8) return 1;
  return std::clamp<int64_t>(4 * 160 * 160 / (box.rows * box.cols), 1, 8);
}

// Probabilities in the box -> of the whole slice: 0 outside the box and, if `labels` are given, outside the lungs.
void place(const float* in_box, const Rectangle& box, const uint8_t* labels, const Grid& grid, int64_t classes,
           float* whole) {
  const int64_t cols = grid.size[0], rows = grid.size[1];
  parallel(rows, /*pays=*/true, [&](int64_t y) {
    float* const to = whole + y * cols * classes;
    std::fill_n(to, cols * classes, 0.f);
    if (y < box.top || y >= box.top + box.rows) return;
    const float* const from = in_box + (y - box.top) * box.cols * classes;
    const uint8_t* const label = labels ? labels + y * cols + box.left : nullptr;
    for (int64_t k = 0; k < classes; k++)
#pragma omp simd
      for (int64_t x = 0; x < box.cols; x++)
        to[(box.left + x) * classes + k] = !label || label[x] & kLungs ? from[x * classes + k] : 0;
  });
}

}  // namespace

bool segment_slices(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels,
                    const SegmentOptions& options, const UseSlice& use_slice) {
  check_networks(networks, image, labels);
  NoGrad no_grad;
  const auto [cols, rows, slices] = image.grid.size;
  const int64_t classes = networks[0].net->options().out;
  const bool lungs = networks[0].format.lungs;
  const bool gpu = networks[0].net->parameters()[0].second.device() == Device::cuda;
  int64_t depth = 0;
  for (const auto& network : networks) depth = std::max(depth, network.net->options().depth);
  const auto [box, is_seen] = region_of(image.grid, lungs ? labels : nullptr, int64_t(1) << depth);
  const int64_t at_once = options.batch > 0 ? options.batch : slices_at_once(box, depth, gpu);

  std::vector<float> whole(rows * cols * classes);  // of one slice
  for (int64_t begin = 0; begin < slices; begin += at_once) {
    const int64_t end = std::min(begin + at_once, slices);
    std::vector<int64_t> batch;
    for (int64_t z = begin; z < end; z++)
      if (is_seen[z]) batch.push_back(z);
    const Tensor mean = mean_probabilities(networks, image, box, batch, options);
    const float* from = mean.data<float>();
    for (int64_t z = begin; z < end; z++) {
      if (!is_seen[z]) {
        std::ranges::fill(whole, 0.f);
      } else {
        place(from, box, lungs ? labels + image.grid.offset(0, 0, z) : nullptr, image.grid, classes, whole.data());
        from += box.rows * box.cols * classes;
      }
      if (!use_slice(z, whole.data())) return false;
    }
  }
  return true;
}

void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask) {
  constexpr int64_t kPart = 8192;  // pixels
  parallel((pixels + kPart - 1) / kPart, /*pays=*/true, [&](int64_t part) {
    for (int64_t i = part * kPart; i < std::min(pixels, (part + 1) * kPart); i++) {
      const float* const of_pixel = p + i * classes;
      int64_t best = 0;
      for (int64_t k = 1; k < classes; k++)
        if (of_pixel[k] > of_pixel[best]) best = k;
      mask[i] = of_pixel[best] > threshold ? uint8_t(best + 1) : 0;
    }
  });
}

void DiceCount::add(const uint8_t* a, const uint8_t* b, int64_t pixels) {
  for (int64_t i = 0; i < pixels; i++) {
    const size_t in_a = a[i] & kClass, in_b = b[i] & kClass;
    if (in_a > 0 && in_a <= sum_.size()) sum_[in_a - 1]++;
    if (in_b > 0 && in_b <= sum_.size()) sum_[in_b - 1]++;
    if (in_a == in_b && in_a > 0 && in_a <= sum_.size()) both_[in_a - 1]++;
  }
}

double DiceCount::dice() const {
  double total = 0;
  int64_t present = 0;
  for (size_t c = 0; c < sum_.size(); c++)
    if (sum_[c] > 0) total += 2 * double(both_[c]) / double(sum_[c]), present++;
  return present == 0 ? 1 : total / double(present);
}

}  // namespace acinus
