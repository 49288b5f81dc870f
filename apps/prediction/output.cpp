// The files and pages that show what was found in scans.

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/common/cli.h"
#include "apps/prediction/prediction.h"
#include "data/dataset/overlay.h"
#include "data/formats/csv.h"
#include "data/formats/volume_io.h"
#include "data/scoring/rle.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {
namespace {

namespace fs = std::filesystem;

// The slice through the middle of a candidate, and a square of 60 mm around it, without and with its outline.
Picture picture_of(const Prediction& p, const Candidate& candidate, double threshold) {
  const Grid& grid = p.probability.grid;
  const Index3 voxel = nearest_voxel(grid, grid.to_voxel(candidate.centre));
  const int64_t z = voxel[2], pixels = grid.size[0] * grid.size[1];
  std::vector<uint8_t> inside(pixels);
  for (int64_t i = 0; i < pixels; i++) inside[i] = p.probability.slice(z)[i] > float(threshold);
  const Index3 middle = as_drawn(grid, voxel);
  const auto half = int64_t(std::clamp(30 / grid.spacing[0], 4., 100.));
  const int zoom = picture_zoom(grid), close = std::max(int(grid.size[0]) * zoom / int(2 * half), 1);
  const Rectangle square{middle[0] - half, middle[1] - half, 2 * half, 2 * half};
  return montage({overlay(p.scan.image, z, nullptr, inside.data(), zoom),
                  overlay(p.scan.image, z, nullptr, nullptr, close, {}, square),
                  overlay(p.scan.image, z, nullptr, inside.data(), close, {}, square)},
                 3);
}

// The slices with the largest foreground, at least 3 apart, largest first.
std::vector<int64_t> fullest_slices(const Volume<uint8_t>& mask, int64_t max_slices) {
  const int64_t pixels = mask.grid.size[0] * mask.grid.size[1];
  std::vector<std::pair<int64_t, int64_t>> slices;  // (voxels, z)
  for (int64_t z = 0; z < mask.grid.size[2]; z++)
    slices.emplace_back(pixels - std::count(mask.slice(z), mask.slice(z) + pixels, 0), z);
  std::ranges::stable_sort(slices, [](auto& a, auto& b) { return a.first > b.first; });
  std::vector<int64_t> chosen;
  for (const auto& [voxels, z] : slices) {
    const bool near = std::ranges::any_of(chosen, [z = z](int64_t other) { return std::abs(other - z) < 3; });
    if (voxels > 0 && !near && int64_t(chosen.size()) < max_slices) chosen.push_back(z);
  }
  return chosen;
}

// Removes the files of an earlier prediction that this one may not write again.
void remove_old(const std::string& folder, const std::string& id) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(id)) continue;
    std::string ending = name.substr(id.size());
    const size_t number = ending.find_first_of("0123456789"), after = ending.find_first_not_of("0123456789", number);
    if (number < after && after != ending.npos) ending.replace(number, after - number, "#");
    for (const char* ours : {"_rle.csv", "_prob.mhd", "_prob.zraw", "_candidate#.png", "_z#.png"})
      if (ending == ours) fs::remove(entry.path());
  }
}

// A line for each class of each slice that contains it.
std::string run_length_csv(const Prediction& p) {
  std::string out = csv_line({"slice", "class", "rle"});
  const Index3 size = p.mask.grid.size;
  std::vector<uint8_t> is_class(size[0] * size[1]);
  for (int64_t z = 0; z < size[2]; z++)
    for (int64_t k = 1; k <= p.classes; k++) {
      for (size_t i = 0; i < is_class.size(); i++) is_class[i] = p.mask.slice(z)[i] == k;
      const std::string runs = run_lengths(is_class.data(), size[0], size[1]);
      if (!runs.empty()) out += csv_line({text(z), text(k), runs});
    }
  return out;
}

// ---- the page of a scan

int64_t slice_of(const Prediction& p, const Candidate& c) { return std::llround(p.mask.grid.to_voxel(c.centre)[2]); }

std::string caption(const Prediction& p, size_t i) {
  const Candidate& c = p.candidates[i];
  const auto& [x, y, z] = c.centre;
  return text("candidate ", i + 1, ": probability ", fixed(c.probability, 3), ", ", fixed(c.diameter_mm, 1),
              " mm, at (", fixed(x, 1), ", ", fixed(y, 1), ", ", fixed(z, 1), ") mm, slice ", slice_of(p, c));
}

std::string candidate_section(const Prediction& p) {
  const bool has_lungs = std::ranges::any_of(p.scan.slices, [](const SliceCount& slice) { return slice.lungs > 0; });
  if (p.scan.labels && !has_lungs) return "<p>No lungs were found, so the network had nothing to look at.</p>\n";
  if (p.candidates.empty()) return "<p>The network found nothing that looks like a nodule in this scan.</p>\n";
  HtmlTable table{.classes = "numbers",
                  .caption =
                      "World millimetres (LPS: x to the patient's left, y to the back, z to the head). The "
                      "diameter is that of a sphere of the same volume.",
                  .columns = {"", "probability", "x", "y", "z", "diameter, mm", "slice"}};
  for (size_t i = 0; i < p.candidates.size(); i++) {
    const Candidate& c = p.candidates[i];
    const auto& [x, y, z] = c.centre;
    table.rows.push_back({text(i + 1), fixed(c.probability, 3), fixed(x, 1), fixed(y, 1), fixed(z, 1),
                          fixed(c.diameter_mm, 1), text(slice_of(p, c))});
  }
  return "<h2>Candidates</h2>\n" + html_table(table);
}

std::string page_of(const Prediction& p, const PredictionOptions& options, std::vector<ReportPicture> pictures) {
  double seconds = 0;
  for (const auto& stage : p.timings) seconds += stage.second;
  const int64_t nodules = p.nodules(options.threshold);
  NamedTexts figures{
      {text(nodules == 1 ? "nodule" : "nodules", ", probability above ", number(options.threshold)), text(nodules)},
      {text("candidates, voxels above ", number(options.candidates.threshold)), text(p.candidates.size())}};
  if (const double ml = p.left_ml + p.right_ml; ml > 0)
    figures.emplace_back(
        text("litres of lung (right ", fixed(p.right_ml / 1000, 1), ", left ", fixed(p.left_ml / 1000, 1), ")"),
        fixed(ml / 1000, 1));
  figures.emplace_back("seconds", fixed(seconds, 1));

  const Grid& grid = p.mask.grid;
  NamedTexts facts{{"file", p.path},
                   {"size", text(grid.size[0], " x ", grid.size[1], " x ", grid.size[2], " voxels of ",
                                 number(grid.spacing[0], 4), " x ", number(grid.spacing[1], 4), " x ",
                                 number(grid.spacing[2], 4), " mm, axes from ", orientation(grid))}};
  for (const auto& [stage, time] : p.timings) facts.emplace_back(stage, fixed(time, 2) + " s");
  facts.insert(facts.end(), options.about.begin(), options.about.end());

  std::vector<PictureGroup> groups;
  if (!pictures.empty())
    groups.push_back({"Most probable candidates",
                      "The slice, and a square of 60 mm around the candidate, without and with its outline. The "
                      "patient's right is on the left.",
                      std::move(pictures)});
  return html_page(p.id, html_key_figures(figures),
                   html_warnings(p.warnings) + candidate_section(p) + html_pictures(groups, /*with_truth=*/false) +
                       html_facts("The scan", facts) + kNoDiagnosis);
}

}  // namespace

std::vector<std::string> write_prediction(Prediction& p, const std::string& folder, const PredictionOptions& options) {
  const double start = seconds_now();
  std::vector<std::string> files;
  const auto named = [&](const std::string& ending) { return folder + "/" + files.emplace_back(p.id + ending); };
  remove_old(folder, p.id);
  if (!p.is_volume && p.mask.grid.size[2] == 1) {  // a picture, on which one class shows best in white
    Picture mask{int(p.mask.grid.size[0]), int(p.mask.grid.size[1]), 1, p.mask.voxels};
    if (p.classes == 1) std::ranges::replace(mask.pixels, uint8_t(1), uint8_t(255));
    write_png(named("_mask.png"), mask);
  } else {
    write_volume(named("_mask.mhd"), p.mask, /*compressed=*/true);
  }
  if (options.rle) write_file(named("_rle.csv"), run_length_csv(p));
  std::vector<ReportPicture> pictures;
  if (p.has_nodules) {
    if (options.probability) write_volume(named("_prob.mhd"), p.probability, /*compressed=*/true);
    for (size_t i = 0; i < p.candidates.size() && int64_t(i) < options.pictures; i++) {
      pictures.push_back({caption(p, i), picture_of(p, p.candidates[i], options.candidates.threshold)});
      write_png(named(text("_candidate", i + 1, ".png")), pictures.back().picture);
    }
  } else {
    const int zoom = picture_zoom(p.mask.grid);
    for (int64_t z : fullest_slices(p.mask, options.pictures))
      write_png(named(text("_z", z, ".png")),
                montage({overlay(p.scan.image, z, nullptr, nullptr, zoom, p.window),
                         overlay(p.scan.image, z, nullptr, p.mask.slice(z), zoom, p.window)},
                        2));
  }
  p.timings.emplace_back("writing", seconds_now() - start);
  if (p.has_nodules) write_file(named(".html"), page_of(p, options, std::move(pictures)));
  return files;
}

}  // namespace acinus
