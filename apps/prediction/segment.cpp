#include "apps/prediction/segment.h"

#include <algorithm>

#include "data/sampling/augment.h"
#include "tensor/text.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

void check_networks(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels) {
  check(!networks.empty(), "segment: no network");
  const Segmenter& first = networks[0];
  for (const auto& [net, format] : networks) {
    check(net->options().in == format.planes * image.channels, "segment: the network takes ", net->options().in,
          " channels; ", format.planes, " planes of a scan with ", image.channels, " channels do not fit it");
    check(!format.lungs || labels, "segment: the lungs are needed, and not given");
    check(format.lungs == first.format.lungs && net->options().out == first.net->options().out,
          "segment: networks that put out ", first.net->options().out, " and ", net->options().out,
          " classes, or of which only some keep to the lungs, do not go together");
  }
}

// The part of all slices that is looked at, and which slices: those with lungs.
struct Part {
  Rectangle box;
  std::vector<bool> slices;
};

// The box begins and ends where the images of all of a network's levels do, so that its pooling sees the same squares.
Part part_with_lungs(const Grid& grid, const uint8_t* labels, int64_t multiple) {
  const auto [cols, rows, slices] = grid.size;
  Part part{{0, 0, 0, 0}, std::vector<bool>(size_t(slices))};
  int64_t left = cols, right = -1, top = rows, bottom = -1;
  for (int64_t i = 0, z = 0; z < slices; z++)
    for (int64_t y = 0; y < rows; y++)
      for (int64_t x = 0; x < cols; x++, i++) {
        if (!(labels[i] & kLungs)) continue;
        left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
        part.slices[size_t(z)] = true;
      }
  if (right < 0) return part;
  const auto begin = [&](int64_t low) { return std::max<int64_t>(0, low - kLungMargin) / multiple * multiple; };
  const auto size = [&](int64_t from, int64_t high, int64_t most) {
    const int64_t end = std::min(most, high + 1 + kLungMargin);
    return std::min(most - from, (end - from + multiple - 1) / multiple * multiple);
  };
  part.box.left = begin(left), part.box.top = begin(top);
  part.box.cols = size(part.box.left, right, cols), part.box.rows = size(part.box.top, bottom, rows);
  return part;
}

// Rows and columns of x (N,H,W,C) in the other order; on the CPU.
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

}  // namespace

bool segment_slices(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels,
                    const SegmentOptions& options, const std::function<bool(int64_t, const float*)>& see) {
  check_networks(networks, image, labels);
  NoGrad no_grad;
  const int64_t cols = image.grid.size[0], rows = image.grid.size[1], slices = image.grid.size[2];
  const int64_t classes = networks[0].net->options().out;
  const bool lungs = networks[0].format.lungs;
  Part part{{0, 0, cols, rows}, std::vector<bool>(size_t(slices), true)};
  if (lungs) {
    int64_t depth = 0;
    for (const auto& network : networks) depth = std::max(depth, network.net->options().depth);
    part = part_with_lungs(image.grid, labels, int64_t(1) << depth);
  }
  const Rectangle box = part.box;
  const int64_t pixels = box.rows * box.cols;
  const auto views = options.mirror ? std::vector<std::pair<bool, bool>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}
                                    : std::vector<std::pair<bool, bool>>{{0, 0}};
  const float share = 1 / float(networks.size() * views.size());

  std::vector<float> whole(size_t(rows * cols * classes));  // of one slice
  for (int64_t begin = 0; begin < slices; begin += options.batch) {
    const int64_t end = std::min(begin + options.batch, slices);
    std::vector<int64_t> looked_at;
    for (int64_t z = begin; z < end; z++)
      if (part.slices[size_t(z)]) looked_at.push_back(z);
    const auto n = int64_t(looked_at.size());
    std::vector<float> mean(size_t(n * pixels * classes));
    for (const auto& [net, format] : networks) {
      if (n == 0) break;
      const Device device = net->parameters()[0].second.device();
      Tensor x({n, box.rows, box.cols, net->options().in});
      {
        const ProfileScope profile_scope("copy_planes");
        for (int64_t k = 0; k < n; k++)
          copy_planes(image, looked_at[size_t(k)], format.planes, format.window, box.left, box.top, box.cols, box.rows,
                      x.data<float>() + k * pixels * net->options().in);
      }
      for (const auto& [by_rows, by_cols] : views) {
        const Tensor input = cast(mirrored(x, by_rows, by_cols).to(device), options.activations);
        const Tensor p = sigmoid(cast((*net)(input), DType::f32)).to(Device::cpu);
        const Tensor back = mirrored(p, by_rows, by_cols);
        for (size_t i = 0; i < mean.size(); i++) mean[i] += share * back.data<float>()[i];
      }
    }
    const float* from = mean.data();
    for (int64_t z = begin; z < end; z++) {
      std::fill(whole.begin(), whole.end(), 0.f);
      for (int64_t y = 0; part.slices[size_t(z)] && y < box.rows; y++)
        for (int64_t x = 0; x < box.cols; x++, from += classes) {
          const int64_t i = (box.top + y) * cols + box.left + x;
          if (!lungs || labels[z * rows * cols + i] & kLungs) std::copy_n(from, classes, whole.data() + i * classes);
        }
      if (!see(z, whole.data())) return false;
    }
  }
  return true;
}

void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask) {
  for (int64_t i = 0; i < pixels; i++) {
    const float* const most = std::max_element(p + i * classes, p + (i + 1) * classes);
    mask[i] = *most > threshold ? uint8_t(most - (p + i * classes) + 1) : 0;
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
