// prepare: makes a data set ready for training, which ./train would do itself, and shows what it found: lungs, nodules.
#include <algorithm>
#include <cstdio>
#include <set>

#include "apps/common/config.h"
#include "data/dataset/overlay.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

// Up to nine slices: through the middle of the nodules first, the others evenly over the lungs, in order.
std::vector<int64_t> slices_to_show(const Scan& scan) {
  std::set<int64_t> chosen;
  const int64_t slices = scan.image.grid.size[2];
  for (const Annotation& nodule : scan.nodules)
    if (chosen.size() < 5) chosen.insert(nearest_voxel(scan.image.grid, scan.image.grid.to_voxel(nodule.centre))[2]);
  int64_t first = 0, last = slices - 1;
  while (first < last && scan.slices[first].lungs == 0) first++;
  while (first < last && scan.slices[last].lungs == 0) last--;
  const auto more = int64_t(9 - chosen.size());
  for (int64_t i = 0; i < more; i++) chosen.insert(first + (last - first) * (2 * i + 1) / (2 * more));
  return {chosen.begin(), chosen.end()};
}

Picture picture_of(const Scan& scan, const HuWindow& window) {
  const Volume<uint8_t> lungs = scan.lungs(), mask = scan.mask();
  std::vector<Picture> pictures;
  for (int64_t z : slices_to_show(scan)) {
    const bool has_rest = scan.slices[z].lungs < lungs.grid.size[0] * lungs.grid.size[1];  // pictures are all "lungs"
    pictures.push_back(overlay(scan.image, z, has_rest ? lungs.slice(z) : nullptr, mask.slice(z), 1, window));
  }
  return montage(pictures, 3);
}

// "24 scans, 23 with nodules (57); 24 made ready in 8.2 s, 0 were already"
std::string summary(const Dataset& data, double seconds) {
  size_t nodules = 0;
  for (const Scan& scan : data.scans) nodules += scan.nodules.size();
  const auto with_foreground = std::ranges::count_if(data.scans, [](const Scan& s) { return s.foreground > 0; });
  return text(data.scans.size(), " ", noun_of(data.kind), "s, ", with_foreground, " with ", foreground_of(data.kind),
              data.is_ct() ? text(" (", nodules, ")") : "", "; ", data.made, " made ready in ", fixed(seconds, 1),
              " s, ", int64_t(data.scans.size()) - data.made, " were already");
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    Config config;
    std::string pictures;
    int64_t shown = 20;
    Settings settings("prepare",
                      "Makes a data set ready for training: reads the scans, finds the lungs, draws the masks, and\n"
                      "keeps all of it where ./train looks for it. Writes a picture of each of the first scans.");
    settings.add_argument("DIR", config.data, "scans in LUNA16 form, or images/ and masks/");
    add_data_settings(settings, config);
    settings.add("input.hu_low", config.input.window.low, "with --cache_bits 8: HU mapped to 0").between(-1e9, 1e9);
    settings.add("input.hu_high", config.input.window.high, "with --cache_bits 8: HU mapped to 255").between(-1e9, 1e9);
    settings.add("input.lungs", config.input_lungs, "in CT scans: find the lungs");
    settings.add("pictures", shown, "number of scans to draw").between(0, 1e6);
    settings.add("out", pictures, "folder for the pictures; default pictures/ in the cache");
    add_threads_setting(settings, config.machine.threads);
    if (!settings.parse(argc, argv)) return 0;
    check_config(config);
    use_threads(config.machine.threads);
    note_signals();
    const double start = seconds_now();
    std::string folder;
    const Dataset data = load_data(config, folder);
    const std::string cache = cache_options(config, folder).folder;
    std::printf("%s\n%s\n", summary(data, seconds_now() - start).c_str(), cache.c_str());
    for (const std::string& warning : data.warnings) std::printf("warning: %s\n", warning.c_str());
    if (shown == 0) return 0;

    if (pictures.empty()) pictures = cache + "/pictures";
    make_folder(pictures);
    shown = std::min<int64_t>(shown, data.scans.size());
    Progress progress("drawing", shown);
    for (int64_t i = 0; i < shown; i++) {
      throw_if_interrupted();
      const Scan& scan = data.scans[i];
      std::string name = scan.id;
      std::ranges::replace(name, '/', '+');
      write_png(pictures + "/" + name + ".png", picture_of(scan, config.input.window));
      progress.update(i + 1);
    }
    std::printf("%s/*.png (lungs in green, nodules in red)\n", pictures.c_str());
    return 0;
  });
}
