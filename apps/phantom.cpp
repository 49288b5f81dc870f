// phantom: writes synthetic chest CT scans with nodules, as a data set in LUNA16 form.
#include <algorithm>
#include <cmath>
#include <map>

#include "apps/cli.h"
#include "data/mask.h"
#include "data/overlay.h"
#include "data/phantom.h"
#include "tensor/check.h"

using namespace acinus;

// The first nodule of each of the first scans, read back from the files.
static Picture preview(const std::string& folder, size_t scans) {
  std::map<std::string, std::vector<Annotation>> nodules;
  for (const Annotation& a : read_annotations(folder + "/annotations.csv")) nodules[a.seriesuid].push_back(a);
  std::vector<Picture> pictures;
  for (const auto& [uid, list] : nodules) {
    if (pictures.size() == scans) break;
    const auto ct = read_volume<int16_t>(folder + "/subset0/" + uid + ".mhd");
    const Volume<uint8_t> mask = sphere_mask(ct.grid, list);
    const int64_t z = std::llround(ct.grid.to_voxel(list[0].centre)[2]);
    pictures.push_back(overlay(ct, &mask, nullptr, std::clamp<int64_t>(z, 0, ct.grid.size[2] - 1)));
  }
  return montage(pictures, 3);
}

int main(int argc, char** argv) {
  return run_program("phantom", [&] {
    std::string out;
    PhantomSetOptions set;
    int64_t scans = set.scans, seed = int64_t(set.seed), size = 160, slices = 48, pictures = 3;
    double pixel_mm = 2.2, slice_mm = 3;
    Settings settings("phantom",
                      "Writes synthetic chest CT scans with nodules, as a data set in LUNA16 form:\n"
                      "DIR/subset0/*.mhd, annotations.csv. Train on it with ./train --data DIR.");
    settings.add_argument("DIR", out, "the folder to write; must not hold a data set yet");
    settings.add("scans", scans, "how many");
    settings.add("seed", seed, "the same seed gives the same scans");
    settings.add("size", size, "voxels along x and y");
    settings.add("slices", slices, "voxels along z");
    settings.add("pixel_mm", pixel_mm, "mm between voxels along x and y (each scan varies it a little)");
    settings.add("slice_mm", slice_mm, "mm between slices");
    settings.add("min_diameter_mm", set.scan.min_diameter_mm, "no nodule smaller than this");
    settings.add("flipped", set.flipped, "share of scans stored with x and y reversed");
    settings.add("pictures", pictures, "how many slices to write as DIR/preview.png, nodules outlined; 0: none");
    if (!settings.parse(argc, argv)) return;
    if (scans < 1 || size < 1 || slices < 1 || size > 4096 || slices > 4096 || scans > 100000)
      throw UsageError{"scans, size and slices must be at least 1"};
    set.scans = int(scans);
    set.seed = uint64_t(seed);
    set.scan.size = {size, size, slices};
    set.scan.spacing = {pixel_mm, pixel_mm, slice_mm};
    {
      Progress progress("writing scans", scans);
      write_phantom_set(out, set, [&](int done, int) { progress.update(done); });
    }
    std::printf("%lld scans in %s\n", static_cast<long long>(scans), out.c_str());
    if (pictures > 0) {
      write_png(out + "/preview.png", preview(out, size_t(pictures)));
      std::printf("%s/preview.png\n", out.c_str());
    }
  });
}
