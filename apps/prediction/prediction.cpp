#include "apps/prediction/prediction.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "apps/common/cli.h"
#include "data/chest/lungs.h"
#include "data/dataset/cache.h"
#include "data/formats/volume_io.h"
#include "data/volume/volume.h"
#include "tensor/text.h"

namespace acinus {
namespace {

// Warns of a scan that differs from what the network was trained on.
void check_input(const ScanView& image, const InputFormat& format, std::vector<std::string>& warnings) {
  // It cannot see values outside its window; if it was trained on photographs, that is most of a CT scan.
  const auto& [low, high] = format.window;
  const int64_t voxels = image.grid.voxels(), step = std::max<int64_t>(1, voxels / 100000);
  int64_t checked = 0, outside = 0;
  for (int64_t i = 0; i < voxels; i += step, checked++) {
    const double value = image.at(i, 0, 0);
    outside += value > high || value < low - 200;  // scanners pad with -1024 and less
  }
  if (outside > checked * 7 / 10)
    warnings.push_back(text(outside * 100 / checked, " % of the voxels lie outside ", low, " to ", high,
                            ", the range that the network sees; was it trained on other images, or is the scan not in "
                            "HU?"));
  // With other voxel sizes, nodules appear larger or smaller.
  const auto [x_mm, y_mm, z_mm] = image.grid.spacing;
  const auto far = [](double a, double b) { return b > 0 && (a > 1.6 * b || b > 1.6 * a); };
  if (far(x_mm, format.pixel_mm) || far(z_mm, format.slice_mm))
    warnings.push_back(text("its voxels are ", number(x_mm, 3), " x ", number(z_mm, 3),
                            " mm (in plane x between slices); the network was trained on ", number(format.pixel_mm, 3),
                            " x ", number(format.slice_mm, 3), " mm and may be less accurate"));
}

}  // namespace

std::string scan_id(const std::string& path) {
  return volume_ending(path).empty() ? std::filesystem::path(path).stem().string() : volume_name(path);
}

int64_t Prediction::nodules(double threshold) const {
  return std::ranges::count_if(candidates, [&](const Candidate& c) { return c.probability > threshold; });
}

Prediction predict_scan(const std::string& path, const std::vector<Segmenter>& networks,
                        const PredictionOptions& options, const LoadedClassifier& classifier,
                        const std::function<bool(int64_t, int64_t)>& after_slice) {
  const InputFormat& format = networks.at(0).format;
  Prediction p;
  p.path = path, p.id = scan_id(path);
  p.is_volume = !volume_ending(path).empty();
  p.window = format.window;
  p.classes = networks[0].net->options().out;
  p.has_nodules = p.is_volume && p.classes == 1 && format.of_scans();
  auto lap = [&, since = seconds_now()](const char* stage) mutable {
    const double now = seconds_now();
    p.timings.emplace_back(stage, now - std::exchange(since, now));
  };
  if (format.lungs) {
    if (!p.is_volume)
      fail(path, ": is not a scan (", kVolumeEndingsText, "), but the network was trained on chest scans");
    auto ct = read_volume<int16_t>(path);
    lap("reading");
    Lungs lungs = find_lungs(ct);
    p.left_ml = lungs.left_ml, p.right_ml = lungs.right_ml, p.warnings = std::move(lungs.warnings);
    for (uint8_t& label : lungs.mask.voxels) label = label ? kLungs : 0;
    p.scan = make_scan(p.id, std::move(ct), std::move(lungs.mask), {});
    lap("finding the lungs");
  } else {
    p.scan = picture_scan(path);
    lap("reading");
  }
  const ScanView& image = p.scan.image;
  const Grid& grid = image.grid;
  if (image.channels != format.channels)
    fail(path, ": has ", image.channels, " channels, but the network was trained on images with ", format.channels);
  check_input(image, format, p.warnings);

  const int64_t pixels = grid.size[0] * grid.size[1];
  p.mask = Volume<uint8_t>(grid);
  if (p.has_nodules) p.probability = Volume<float>(grid);
  p.stopped = !segment_slices(networks, image, p.scan.labels, options.segment, [&](int64_t z, const float* slice) {
    classes_of(slice, pixels, p.classes, options.threshold, p.mask.slice(z));
    if (p.has_nodules) std::copy_n(slice, pixels, p.probability.slice(z));
    return !after_slice || after_slice(z + 1, grid.size[2]);
  });
  lap("the network");
  if (!p.has_nodules || p.stopped) return p;
  p.candidates = find_candidates(p.probability, p.id, options.candidates);
  lap("candidates");
  if (!classifier.net) return p;
  classify(classifier, image, p.candidates);
  lap("the classifier");
  return p;
}

}  // namespace acinus
