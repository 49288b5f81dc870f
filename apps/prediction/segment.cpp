#include "apps/prediction/segment.h"

#include <algorithm>
#include <utility>

#include "data/sampling/augment.h"
#include "tensor/ops.h"
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
  Region region{{0, 0, 0, 0}, std::vector<bool>(slices)};
  int64_t left = cols, right = -1, top = rows, bottom = -1;
  for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (!(labels[i] & kLungs)) return;
    left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
    region.slices[z] = true;
  });
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
std::vector<float> mean_probabilities(const std::vector<Segmenter>& networks, const ScanView& image,
                                      const Rectangle& box, const std::vector<int64_t>& slices,
                                      const SegmentOptions& options) {
  std::vector<std::pair<bool, bool>> mirrors{{false, false}};  // of rows, of columns
  if (options.mirror) mirrors = {{false, false}, {false, true}, {true, false}, {true, true}};
  const auto n = int64_t(slices.size()), pixels = box.rows * box.cols;
  const float weight = 1 / float(networks.size() * mirrors.size());
  std::vector<float> mean(n * pixels * networks[0].net->options().out);
  if (n == 0) return mean;
  for (const auto& [net, format] : networks) {
    const Device device = net->parameters()[0].second.device();
    const int64_t channels = net->options().in;
    Tensor x({n, box.rows, box.cols, channels});
    {
      const ProfileScope profile_scope("copy_planes");
      for (int64_t i = 0; i < n; i++)
        copy_planes(image, slices[i], format.planes, format.window, box.left, box.top, box.cols, box.rows,
                    x.data<float>() + i * pixels * channels);
    }
    for (const auto& [rows, cols] : mirrors) {
      const Tensor input = cast(mirrored(x, rows, cols).to(device), options.activations);
      const Tensor p = sigmoid(cast((*net)(input), DType::f32)).to(Device::cpu);
      const Tensor back = mirrored(p, rows, cols);
      for (size_t i = 0; i < mean.size(); i++) mean[i] += weight * back.data<float>()[i];
    }
  }
  return mean;
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
  const int64_t at_once = options.batch > 0 ? options.batch : gpu ? 8 : 1;
  int64_t depth = 0;
  for (const auto& network : networks) depth = std::max(depth, network.net->options().depth);
  const auto [box, is_seen] = region_of(image.grid, lungs ? labels : nullptr, int64_t(1) << depth);

  std::vector<float> whole(rows * cols * classes);  // of one slice
  for (int64_t begin = 0; begin < slices; begin += at_once) {
    const int64_t end = std::min(begin + at_once, slices);
    std::vector<int64_t> batch;
    for (int64_t z = begin; z < end; z++)
      if (is_seen[z]) batch.push_back(z);
    const std::vector<float> mean = mean_probabilities(networks, image, box, batch, options);
    const float* from = mean.data();
    for (int64_t z = begin; z < end; z++) {
      std::fill(whole.begin(), whole.end(), 0.f);
      for (int64_t y = 0; is_seen[z] && y < box.rows; y++)
        for (int64_t x = 0; x < box.cols; x++, from += classes) {
          const int64_t i = (box.top + y) * cols + box.left + x;
          if (!lungs || labels[z * rows * cols + i] & kLungs) std::copy_n(from, classes, whole.data() + i * classes);
        }
      if (!use_slice(z, whole.data())) return false;
    }
  }
  return true;
}

void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask) {
  for (int64_t i = 0; i < pixels; i++) {
    const float* const best = std::max_element(p + i * classes, p + (i + 1) * classes);
    mask[i] = *best > threshold ? uint8_t(best - (p + i * classes) + 1) : 0;
  }
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
