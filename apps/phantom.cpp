// phantom: writes synthetic chest CT scans with nodules, as a data set in LUNA16 form.
#include <algorithm>
#include <cmath>
#include <map>

#include "apps/common/cli.h"
#include "data/chest/phantom.h"
#include "data/dataset/overlay.h"
#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
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
  return run_program(argv, [&] {
    std::string out;
    PhantomSetOptions set;
    Index3& size = set.scan.size;
    Vec3& spacing = set.scan.spacing;
    int64_t seed = int64_t(set.seed), pictures = 3;
    Settings settings("phantom",
                      "Writes synthetic chest CT scans with nodules, as a data set in LUNA16 form:\n"
                      "DIR/subset0/*.mhd, annotations.csv. Train on it with ./train --data DIR.");
    settings.add_argument("DIR", out, "the folder to write; must not hold a data set yet");
    settings.add("scans", set.scans, "number of scans").between(1, 100000);
    settings.add("seed", seed, "of all random numbers: the same seed gives the same scans");
    settings.add("size", size[0], "voxels along x and along y").between(1, 2048);
    settings.add("slices", size[2], "voxels along z").between(1, 2048);
    settings.add("pixel_mm", spacing[0], "mm between voxels within a slice; varied a little from scan to scan")
        .between(0.05, 100);
    settings.add("slice_mm", spacing[2], "mm between slices").between(0.05, 100);
    settings.add("min_diameter_mm", set.scan.min_diameter_mm, "diameter of the smallest nodules").between(0, 32);
    settings.add("flipped", set.flipped, "fraction of scans stored with x and y reversed").between(0, 1);
    settings.add("pictures", pictures, "slices to write as DIR/preview.png, nodules outlined; 0: none").between(0, 100);
    if (!settings.parse(argc, argv)) return 0;
    set.seed = uint64_t(seed);
    size[1] = size[0], spacing[1] = spacing[0];
    {
      Progress progress("writing scans", set.scans);
      write_phantom_set(out, set, [&](int done, int) { progress.update(done); });
    }
    std::printf("%d scans in %s\n", set.scans, out.c_str());
    if (pictures > 0) {
      write_png(out + "/preview.png", preview(out, size_t(pictures)));
      std::printf("%s/preview.png\n", out.c_str());
    }
    return 0;
  });
}
