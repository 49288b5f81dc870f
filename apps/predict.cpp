// predict: runs a trained U-Net over a scan and writes the mask of nodules, on the scan's own grid, with pictures.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/cli.h"
#include "apps/segment.h"
#include "data/overlay.h"
#include "data/volume.h"
#include "tensor/file.h"

using namespace acinus;

namespace {

// The slices with most nodule in them, at least `gap` apart, largest first.
std::vector<int64_t> fullest_slices(const Volume<uint8_t>& mask, size_t most, int64_t gap) {
  const int64_t pixels = mask.grid.size[0] * mask.grid.size[1];
  std::vector<std::pair<int64_t, int64_t>> slices;  // (voxels, z)
  for (int64_t z = 0; z < mask.grid.size[2]; z++)
    slices.emplace_back(std::count(mask.slice(z), mask.slice(z) + pixels, 1), z);
  std::stable_sort(slices.begin(), slices.end(), [](auto& a, auto& b) { return a.first > b.first; });
  std::vector<int64_t> chosen;
  for (const auto& [voxels, z] : slices) {
    const bool near =
        std::any_of(chosen.begin(), chosen.end(), [&, z = z](int64_t other) { return std::abs(other - z) < gap; });
    if (voxels > 0 && !near && chosen.size() < most) chosen.push_back(z);
  }
  return chosen;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    std::string scan, model, out = "predictions";
    int64_t pictures = 6;
    Machine machine;
    double threshold = 0;
    Settings settings("predict",
                      "Finds nodules in a CT scan: writes <uid>_mask.mhd, on the scan's grid, and overlays.");
    settings.add_argument("SCAN", scan, text("the scan, ", kVolumeEndingsText, ", in Hounsfield units"));
    settings.add("model", model, "a network, such as runs/laptop/best.safetensors");
    settings.add("out", out, "folder for the results");
    settings.add("threshold", threshold, "of the probability, for the mask; 0: as the network was trained")
        .between(0, 1);
    settings.add("pictures", pictures, "at most this many overlays, of the slices with most nodule in them")
        .between(0, 1000);
    machine.add_settings(settings);
    if (!settings.parse(argc, argv)) return;
    if (model.empty())
      throw UsageError{"--model is missing: a network that ./train wrote, such as runs/laptop/best.safetensors"};

    const Device device = machine.use();
    if (!std::filesystem::exists(model)) fail("cannot read ", model, ": there is no such network; ./train makes one");
    const LoadedUNet loaded = load_unet(model);
    loaded.net->to(device);
    loaded.net->set_activations(machine.activations());
    InputFormat format = input_format(loaded.metadata, model);
    if (threshold > 0) format.threshold = threshold;
    const auto ct = read_volume<int16_t>(scan);
    const double start = seconds_now();
    Volume<uint8_t> mask;
    {
      Progress progress("slices", ct.grid.size[2]);
      mask = thresholded(segment(*loaded.net, ct, format, [&](int64_t done, int64_t) { progress.update(done); }),
                         format.threshold);
    }
    make_folder(out);
    const std::string stem = out + "/" + volume_name(scan);
    write_volume(stem + "_mask.mhd", mask, /*compressed=*/true);
    const int64_t voxels = std::count(mask.voxels.begin(), mask.voxels.end(), 1);
    const double mm3 = ct.grid.spacing[0] * ct.grid.spacing[1] * ct.grid.spacing[2];
    std::printf("%s: %lld voxels of nodule (%.0f mm3) in %lld slices, %.1f s\n%s_mask.mhd\n", scan.c_str(),
                static_cast<long long>(voxels), double(voxels) * mm3, static_cast<long long>(ct.grid.size[2]),
                seconds_now() - start, stem.c_str());
    const int zoom = picture_zoom(ct.grid);
    for (int64_t z : fullest_slices(mask, size_t(pictures), 3)) {
      const std::string path = text(stem, "_z", z, ".png");
      write_png(path, montage({overlay(ct, nullptr, nullptr, z, zoom), overlay(ct, nullptr, &mask, z, zoom)}, 2));
      std::printf("%s\n", path.c_str());
    }
  });
}
