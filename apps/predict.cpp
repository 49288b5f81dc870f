// predict: runs a trained U-Net over a scan, or a picture of another task, and writes the mask of what it finds, on the
// scan's own grid, with pictures.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/cli.h"
#include "apps/segment.h"
#include "data/cache.h"
#include "data/lungs.h"
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
    slices.emplace_back(pixels - std::count(mask.slice(z), mask.slice(z) + pixels, 0), z);
  std::stable_sort(slices.begin(), slices.end(), [](auto& a, auto& b) { return a.first > b.first; });
  std::vector<int64_t> chosen;
  for (const auto& [voxels, z] : slices) {
    const bool near =
        std::any_of(chosen.begin(), chosen.end(), [&, z = z](int64_t other) { return std::abs(other - z) < gap; });
    if (voxels > 0 && !near && chosen.size() < most) chosen.push_back(z);
  }
  return chosen;
}

// A mask of a .png or .npy, which may be looked at: white, where there is one class only.
void write_mask(const std::string& path, const Volume<uint8_t>& mask, int64_t classes) {
  Picture picture{int(mask.grid.size[0]), int(mask.grid.size[1]), 1, mask.voxels};
  for (uint8_t& pixel : picture.pixels) pixel = classes == 1 && pixel ? 255 : pixel;
  write_png(path, picture);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    std::string scan, model, out = "predictions";
    int64_t pictures = 6;
    Machine machine;
    double threshold = 0;
    Settings settings(
        "predict",
        "Finds nodules in a CT scan: writes <uid>_mask.mhd, on the scan's grid, and overlays. Or, with a\n"
        "network trained on images/ and masks/, their classes in another image.");
    settings.add_argument("SCAN", scan, text("a scan in Hounsfield units: ", kVolumeEndingsText, "; or an image"));
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
    const double start = seconds_now();
    Scan seen;
    if (format.lungs) {
      auto ct = read_volume<int16_t>(scan);
      Lungs lungs = find_lungs(ct);
      for (const std::string& warning : lungs.warnings) std::printf("warning: %s\n", warning.c_str());
      for (uint8_t& label : lungs.mask.voxels) label = label ? kLungs : 0;
      seen = make_scan(volume_name(scan), std::move(ct), std::move(lungs.mask), {});
    } else {
      seen = picture_scan(scan);
    }
    const ScanView& image = seen.image;
    const Grid& grid = image.grid;
    if (image.channels != format.channels)
      fail(scan, ": has ", image.channels, " channels; the network was trained on images of ", format.channels);
    const int64_t classes = loaded.net->options().out;
    Volume<uint8_t> mask(grid);
    {
      Progress progress("slices", grid.size[2]);
      const int64_t pixels = grid.size[0] * grid.size[1];
      segment_slices(*loaded.net, image, seen.labels, format, [&](int64_t z, const float* p) {
        classes_of(p, pixels, classes, format.threshold, mask.slice(z));
        progress.update(z + 1);
      });
    }
    make_folder(out);
    const bool placed = !volume_ending(scan).empty();  // else it is a picture, which knows no millimetres
    const bool as_png = !placed && grid.size[2] == 1;
    const std::string stem = out + "/" + (placed ? volume_name(scan) : std::filesystem::path(scan).stem().string());
    const std::string mask_path = stem + (as_png ? "_mask.png" : "_mask.mhd");
    if (as_png)
      write_mask(mask_path, mask, classes);
    else
      write_volume(mask_path, mask, /*compressed=*/true);
    const int64_t voxels = std::count_if(mask.voxels.begin(), mask.voxels.end(), [](uint8_t v) { return v != 0; });
    const double mm3 = grid.spacing[0] * grid.spacing[1] * grid.spacing[2];
    std::printf("%s: %lld voxels of %s", scan.c_str(), static_cast<long long>(voxels),
                format.lungs ? "nodule" : "foreground");
    if (placed) std::printf(" (%.0f mm3)", double(voxels) * mm3);
    std::printf(", in a scan of %lld slices, %.1f s\n%s\n", static_cast<long long>(grid.size[2]), seconds_now() - start,
                mask_path.c_str());
    const int zoom = picture_zoom(grid);
    for (int64_t z : fullest_slices(mask, size_t(pictures), 3)) {
      const std::string path = text(stem, "_z", z, ".png");
      write_png(path, montage({overlay(image, z, nullptr, nullptr, zoom, format.window),
                               overlay(image, z, nullptr, mask.slice(z), zoom, format.window)},
                              2));
      std::printf("%s\n", path.c_str());
    }
  });
}
