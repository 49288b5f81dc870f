#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "apps/common/config.h"
#include "data/dataset/statistics.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

// Phantoms are kept beside the runs and used again: the folder's name holds all that they depend on.
std::string phantom_folder(const Config& c) {
  const PhantomOptions& scan = c.phantom.scan;
  const std::string folder = text("runs/phantoms/", c.phantom.scans, "x", scan.size[0], "x", scan.size[1], "x",
                                  scan.size[2], "-", shortest(scan.spacing[0]), "mm-", shortest(scan.spacing[2]),
                                  "mm-from", shortest(scan.min_diameter_mm), "mm-seed", c.seed);
  if (fs::exists(folder + "/annotations.csv")) return folder;
  if (fs::exists("runs/phantoms")) remove_leftovers("runs/phantoms");
  const std::string temporary = text(folder, ".tmp-", getpid());  // another ./train may be making the same set
  Progress progress("making synthetic scans", c.phantom.scans);
  std::error_code taken, ignored;
  try {
    write_phantom_set(temporary, c.phantom, [&](int done, int) {
      progress.update(done);
      throw_if_interrupted();
    });
  } catch (...) {
    fs::remove_all(temporary, ignored);
    throw;
  }
  fs::rename(temporary, folder, taken);
  if (taken) fs::remove_all(temporary);
  if (taken && !fs::exists(folder + "/annotations.csv")) fail("cannot make the folder ", folder, ": ", taken.message());
  return folder;
}

// The 0.5 and 99.5 percentiles over about 20000 voxels of each scan (nnU-Net's choice; Isensee et al. 2021).
HuWindow percentiles(const Dataset& data) {
  std::vector<double> values;
  for (const Scan& scan : data.scans) {
    const int64_t voxels = scan.image.grid.voxels(), step = std::max<int64_t>(1, voxels / 20000);
    for (int64_t i = 0; i < voxels; i += step) values.push_back(scan.image.at(i, 0, 0));
  }
  const auto value_at = [&](double fraction) {
    const auto at = values.begin() + int64_t(fraction * double(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
  };
  const double low = value_at(0.005), high = value_at(0.995);
  return {low, high > low ? high : low + 1};
}

}  // namespace

CacheOptions cache_options(const Config& c, const std::string& folder) {
  CacheOptions options = c.cache;
  if (options.folder.empty()) options.folder = default_cache(folder);
  return options;
}

Dataset load_data(Config& c, std::string& folder) {
  folder = c.data.empty() ? phantom_folder(c) : c.data;
  Progress progress("reading scans", 1);
  const auto update = [&](int64_t done, int64_t of) {
    progress.update(done, of);
    throw_if_interrupted();
  };
  const Dataset data = load_dataset(folder, cache_options(c, folder), int64_t(c.memory_gb * (1 << 30)), update);
  if (!data.is_ct() && c.input_window == "auto") {
    const bool bytes = std::ranges::all_of(data.scans, [](const Scan& s) { return s.image.type == ElementType::u8; });
    c.input.window = bytes ? HuWindow{0, 255} : percentiles(data);
    c.input_window = "fixed";
    c.share();
  }
  c.input.channels = data.scans[0].image.channels;
  c.input.lungs = c.input_lungs && data.is_ct();
  c.net.in = c.input.planes * c.input.channels, c.net.out = data.classes;
  std::vector<double> pixels, slices;
  for (const Scan& scan : data.scans)
    pixels.push_back(scan.image.grid.spacing[0]), slices.push_back(scan.image.grid.spacing[2]);
  c.input.pixel_mm = data.is_ct() ? summary_of(pixels).median : 0;
  c.input.slice_mm = data.is_ct() ? summary_of(slices).median : 0;
  return data;
}

}  // namespace acinus
