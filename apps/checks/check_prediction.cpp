// What can be wrong with a mask that was predicted, or drawn, for a scan.
#include <algorithm>
#include <cmath>
#include <set>

#include "apps/checks/checks.h"
#include "apps/checks/misreadings.h"
#include "data/chest/lungs.h"
#include "data/formats/annotations.h"
#include "data/formats/picture.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

std::string in_words(const Vec3& v) {
  return text("(", number(v[0], 4), ", ", number(v[1], 4), ", ", number(v[2], 4), ")");
}
std::string in_words(const Index3& n) { return text(n[0], "x", n[1], "x", n[2]); }

bool near(const Vec3& a, const Vec3& b, double tolerance) {
  for (size_t i = 0; i < 3; i++)
    if (!(std::abs(a[i] - b[i]) <= tolerance)) return false;
  return true;
}

// Compares two grids of the same size, but not to the last bit, since files round.
void check_grid(const Grid& mask, const Grid& scan, Findings& out) {
  std::string differs;
  const auto add = [&](const char* what, const std::string& of_mask, const std::string& of_scan) {
    differs += text(differs.empty() ? "" : "; ", what, " ", of_mask, ", the scan's ", of_scan);
  };
  const double voxel = std::ranges::min(scan.spacing);
  bool turned = false;
  if (!near(mask.origin, scan.origin, 0.05 * voxel)) add("origin", in_words(mask.origin), in_words(scan.origin));
  if (!near(mask.spacing, scan.spacing, 1e-3 * voxel)) add("spacing", in_words(mask.spacing), in_words(scan.spacing));
  for (size_t i = 0; i < 3; i++) turned = turned || !near(mask.direction[i], scan.direction[i], 1e-3);
  if (turned) add("direction", orientation(mask), orientation(scan));
  if (differs.empty()) return;
  const bool ras = near({-mask.origin[0], -mask.origin[1], mask.origin[2]}, scan.origin, 0.05 * voxel);
  out.error(
      "the mask is not on the scan's grid: " + differs,
      ras ? "x and y have the opposite sign: it was written in RAS (NIfTI's frame) into a file in LPS (MetaImage's)"
          : "copy origin, spacing and direction from the scan's header (SimpleITK: mask.CopyInformation(scan)); if"
            " the voxels differ, too, resample the mask to the scan's grid by the nearest neighbour");
}

// The voxels that are in the mask, whatever numbers it holds; empty if it is not a mask.
Volume<uint8_t> check_mask_values(const Image& image, const Grid& grid, bool is_picture, Findings& out) {
  Volume<uint8_t> mask(grid);
  std::set<double> values;  // the first thousand
  int64_t not_finite = 0;
  double low = INFINITY, high = -INFINITY;
  bool whole = true;
  with_type(image.type, [&](auto zero) {
    const auto* from = reinterpret_cast<const decltype(zero)*>(image.data.data());
    for (size_t i = 0; i < mask.voxels.size(); i++) {
      const double value = double(from[i]);
      if (!std::isfinite(value)) {
        not_finite++;
        continue;
      }
      low = std::min(low, value), high = std::max(high, value);
      whole = whole && value == std::floor(value);
      if (values.size() < 1000) values.insert(value);
      mask.voxels[i] = value > 0.5;
    }
  });
  const std::string range = text(number(low, 4), " to ", number(high, 4));
  if (not_finite > 0)
    out.error(text("not finite (NaN): ", not_finite, " of the mask's voxels"),
              "they are the network's output: ./doctor --run names the layer");
  if (values.empty()) return mask;
  if (!whole && low >= 0 && high <= 1) {
    out.error(text("this is a map of probabilities (", range, "), not a mask"),
              "a mask is where they exceed a threshold: (p > 0.5), as 0 and 1; the other findings are about that");
  } else if (!whole || low < 0 || (values.size() > 2 && high >= double(kMaxClasses))) {
    out.error(text("the values ", range, " are not those of a mask"),
              "0 is background, 1 nodule; is this the scan, or a picture with grey edges (JPEG, resized with"
              " interpolation)?");
    mask.voxels.clear();
  } else if (high == 255) {
    out.add(is_picture ? Level::note : Level::warning, "the mask has the values 0 and 255",
            "programs that expect 0 and 1 count 255 times too much, or see nothing: divide by 255");
  } else if (high > 1) {
    out.note(text("the mask holds values up to ", number(high, 4), ": several classes"),
             "the other findings take all but 0 as one class");
  }
  return mask;
}

// Is a voxel of the mask inside the nodule, if that is centred at `centre` (in voxels)?
bool is_hit(const Volume<uint8_t>& mask, const Annotation& nodule, const Vec3& centre) {
  const Grid& grid = mask.grid;
  if (!grid.contains(centre)) return false;
  const double radius = std::clamp(nodule.diameter_mm, 0., 200.) / 2;
  return any_voxel_near(grid, centre, radius,
                        [&](int64_t x, int64_t y, int64_t z, double) { return mask.at(x, y, z); });
}

// Does the mask hit the scan's annotated nodules?
void check_hits(const Volume<uint8_t>& mask, const std::string& uid, const std::string& annotations, bool is_empty,
                Findings& out) {
  std::vector<Annotation> nodules;
  for (const Annotation& a : read_annotations(annotations))
    if (a.seriesuid == uid) nodules.push_back(a);
  if (nodules.empty()) {
    out.note(text(annotations, " names no nodule of ", uid), "the name of the scan's file must be its seriesuid");
    return;
  }
  if (is_empty) {
    out.error(text("the mask is empty, in a scan with ", counted(nodules.size(), "annotated nodule")),
              "a lower --threshold; does ./predict's network use the window it was trained with? ./doctor --run");
    return;
  }
  const auto hits = std::ranges::count_if(
      nodules, [&](const Annotation& a) { return is_hit(mask, a, mask.grid.to_voxel(a.centre)); });
  const std::string what = text(hits, " of ", counted(nodules.size(), "annotated nodule"),
                                nodules.size() == 1 ? " contains" : " contain", " voxels of the mask");
  if (hits > 0) {
    out.note(what, "");
    return;
  }
  const auto [misreading, fitting] = best_misreading(nodules.size(), 0, [&](const Misreading& m) {
    return std::ranges::count_if(nodules,
                                 [&](const Annotation& a) { return is_hit(mask, a, m.voxel(mask.grid, a.centre)); });
  });
  if (misreading)
    out.error(text(what, "; ", misreading->what, ", ", fitting, " do"),
              text("either ", misreading->cure, "; or the mask is flipped"));
  else
    out.warning(what, "they were not found, or mask and list are not of the same scan");
}

// Of a mask that holds this many voxels, at least one.
void check_extent(const Volume<uint8_t>& mask, double voxels, const Volume<int16_t>& scan, Findings& out) {
  const double share = voxels / double(mask.voxels.size());
  if (share > 0.05)
    out.add(share > 0.5 ? Level::error : Level::warning, text(percent(share), " of the voxels are in the mask"),
            share > 0.5 ? "it may be inverted: background must be 0"
                        : "nodules are less than 0.1 % of a scan; a higher --threshold, or a network that was trained "
                          "for longer");
  const Volume<uint8_t> lungs = find_lungs(scan).mask;
  double outside = 0, found = 0;
  for (size_t i = 0; i < mask.voxels.size(); i++)
    outside += mask.voxels[i] && !lungs.voxels[i], found += lungs.voxels[i];
  if (found == 0)
    out.warning("no lungs were found in the scan", "is it a chest CT in Hounsfield units? ./doctor --data tells more");
  else if (outside > 0.3 * voxels)
    out.warning(text(percent(outside / voxels), " of the mask lies outside the lungs"),
                "is it flipped, or of another scan? A network trained with --input.lungs true predicts nothing there");
}

}  // namespace

Findings check_prediction(const std::string& mask_path, const std::string& scan_path, const std::string& annotations) {
  Findings out;
  const Volume<int16_t> scan = read_volume<int16_t>(scan_path);
  const Image image = read_picture(mask_path);
  if (image.channels != 1) {
    out.error(text(mask_path, ": has ", image.channels, " channels, but a mask has one"),
              "save the classes as numbers, not as colours");
    return out;
  }
  const Grid grid = grid_of(image, mask_path);
  if (grid.size != scan.grid.size) {
    const auto [cols, rows, slices] = scan.grid.size;
    out.error(text("the mask is not on the scan's grid: ", in_words(grid.size), " voxels, the scan ",
                   in_words(scan.grid.size)),
              grid.size == Index3{slices, rows, cols}
                  ? "x and z are exchanged: numpy's axes are z,y,x"
                  : "resample it to the scan's grid by the nearest neighbour (data/volume/resample.h)");
    return out;
  }
  const bool is_picture = volume_ending(mask_path).empty();  // a file without millimetres
  if (!is_picture) check_grid(grid, scan.grid, out);
  const Volume<uint8_t> mask = check_mask_values(image, scan.grid, is_picture, out);
  if (mask.voxels.empty()) return out;
  const auto voxels = double(std::ranges::count(mask.voxels, 1));
  if (voxels > 0)
    check_extent(mask, voxels, scan, out);
  else if (annotations.empty())
    out.warning("the mask is empty", "right, if the scan holds no nodule; else a lower --threshold");
  if (!annotations.empty()) check_hits(mask, volume_name(scan_path), annotations, voxels == 0, out);
  return out;
}

}  // namespace acinus
