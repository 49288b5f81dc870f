#include "apps/prediction/prediction.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/common/cli.h"
#include "apps/report/curve.h"
#include "apps/report/page.h"
#include "data/chest/lungs.h"
#include "data/dataset/cache.h"
#include "data/dataset/overlay.h"
#include "data/formats/csv.h"
#include "data/scoring/rle.h"
#include "data/volume/volume.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

constexpr const char* kNoDiagnosis = "<p class='soft'>For teaching and research, not for diagnosis.</p>\n";

// Seconds since the last call, kept under a name.
class Stages {
 public:
  explicit Stages(Prediction& prediction) : seconds_(prediction.seconds) {}
  void end(const std::string& name) {
    const double now = seconds_now();
    seconds_.emplace_back(name, now - since_);
    since_ = now;
  }

 private:
  std::vector<std::pair<std::string, double>>& seconds_;
  double since_ = seconds_now();
};

// A network sees nothing in a scan whose values its window cuts off: one trained on photographs, say.
void look_at_window(const ScanView& image, const HuWindow& window, std::vector<std::string>& warnings) {
  const int64_t voxels = image.grid.voxels(), every = std::max<int64_t>(1, voxels / 100000);
  int64_t looked_at = 0, cut = 0;
  for (int64_t i = 0; i < voxels; i += every, looked_at++) {
    const double value = image.at(i, 0, 0);
    cut += value > window.high || value < window.low - 200;  // scanners write some -1024 and less around the patient
  }
  if (cut > looked_at * 7 / 10)
    warnings.push_back(text(cut * 100 / looked_at, " % of the voxels lie outside ", window.low, " to ", window.high,
                            ", all that the network sees; was it trained on other images, or is the scan not in HU?"));
}

// Nodules look larger or smaller than the network knows them where voxels are of another size.
void look_at_spacing(const Grid& grid, const InputFormat& format, std::vector<std::string>& warnings) {
  const auto far = [](double a, double b) { return b > 0 && (a > 1.6 * b || b > 1.6 * a); };
  if (far(grid.spacing[0], format.pixel_mm) || far(grid.spacing[2], format.slice_mm))
    warnings.push_back(text("its voxels are ", number(grid.spacing[0], 3), " x ", number(grid.spacing[2], 3),
                            " mm (in the slice x between slices); the network was trained on ",
                            number(format.pixel_mm, 3), " x ", number(format.slice_mm, 3),
                            " mm, and may see nodules where there are none"));
}

// The slice through the middle of a candidate, and a square of 60 mm around it, without and with its outline.
Picture picture_of(const Prediction& p, const Candidate& candidate, const PredictionOptions& options,
                   const HuWindow& window) {
  const Grid& grid = p.probability.grid;
  const Vec3 centre = grid.to_voxel(candidate.centre);
  Index3 voxel;
  for (size_t k = 0; k < 3; k++) voxel[k] = std::clamp<int64_t>(std::llround(centre[k]), 0, grid.size[k] - 1);
  const int64_t z = voxel[2], pixels = grid.size[0] * grid.size[1];
  std::vector<uint8_t> inside(static_cast<size_t>(pixels));
  for (int64_t i = 0; i < pixels; i++)
    inside[size_t(i)] = p.probability.slice(z)[i] > float(options.candidates.threshold);
  const Index3 middle = as_drawn(grid, voxel);
  const auto half = int64_t(std::clamp(30 / grid.spacing[0], 4., 100.));
  const int zoom = picture_zoom(grid), close = std::max(int(grid.size[0]) * zoom / int(2 * half), 1);
  const Rectangle part{middle[0] - half, middle[1] - half, 2 * half, 2 * half};
  return montage({overlay(p.scan.image, z, nullptr, inside.data(), zoom, window),
                  close_up(p.scan.image, z, nullptr, nullptr, close, window, part),
                  close_up(p.scan.image, z, nullptr, inside.data(), close, window, part)},
                 3);
}

// A mask of a .png or .npy, which may be looked at: white, where there is one class only.
void write_mask_picture(const std::string& path, const Volume<uint8_t>& mask, bool white) {
  Picture picture{int(mask.grid.size[0]), int(mask.grid.size[1]), 1, mask.voxels};
  for (uint8_t& pixel : picture.pixels) pixel = white && pixel ? 255 : pixel;
  write_png(path, picture);
}

// The slices with most foreground in them, at least `gap` apart, largest first.
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

// What an earlier prediction of the scan left: <id>_candidate<number>.png, <id>_z<number>.png, and what is not always
// written.
void remove_old(const std::string& folder, const std::string& id) {
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename();
    std::string_view name = file;
    if (!name.starts_with(id)) continue;
    name.remove_prefix(id.size());
    bool is_old = name == "_rle.csv" || name == "_prob.mhd" || name == "_prob.zraw";
    for (const std::string_view kind : {"_candidate", "_z"})
      is_old = is_old || (name.starts_with(kind) && name.ends_with(".png") && name.size() > kind.size() + 4 &&
                          name.substr(0, name.size() - 4).find_first_not_of("0123456789", kind.size()) == name.npos);
    if (is_old) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove(path);
}

// A line for each class of each slice that holds some of it.
std::string encoded(const Prediction& p) {
  std::string out = csv_line({"slice", "class", "rle"});
  const Index3 size = p.mask.grid.size;
  std::vector<uint8_t> one(size_t(size[0] * size[1]));
  for (int64_t z = 0; z < size[2]; z++)
    for (int64_t k = 1; k <= p.classes; k++) {
      for (size_t i = 0; i < one.size(); i++) one[i] = p.mask.slice(z)[i] == k;
      const std::string runs = run_lengths(one.data(), size[0], size[1]);
      if (!runs.empty()) out += csv_line({text(z), text(k), runs});
    }
  return out;
}

std::string caption(const Prediction& p, size_t i) {
  const Candidate& c = p.candidates[i];
  return text("candidate ", i + 1, ": probability ", fixed(c.probability, 3), ", ", fixed(c.diameter_mm, 1),
              " mm, at (", fixed(c.centre[0], 1), ", ", fixed(c.centre[1], 1), ", ", fixed(c.centre[2], 1),
              ") mm, slice ", std::llround(p.mask.grid.to_voxel(c.centre)[2]));
}

std::string candidate_table(const Prediction& p) {
  std::string out =
      "<h2>Candidates</h2>\n<div class='scroll'><table class='numbers'>\n<caption>World millimetres (LPS: x to the "
      "patient's left, y to the back, z to the head). The diameter is that of a ball of the same volume.</caption>\n"
      "<thead><tr><th scope='col'></th><th scope='col'>probability</th><th scope='col'>x</th><th scope='col'>y</th>"
      "<th scope='col'>z</th><th scope='col'>diameter, mm</th><th scope='col'>slice</th></tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < p.candidates.size(); i++) {
    const Candidate& c = p.candidates[i];
    out += text("<tr><th scope='row'>", i + 1, "</th><td>", fixed(c.probability, 3), "</td><td>", fixed(c.centre[0], 1),
                "</td><td>", fixed(c.centre[1], 1), "</td><td>", fixed(c.centre[2], 1), "</td><td>",
                fixed(c.diameter_mm, 1), "</td><td>", std::llround(p.mask.grid.to_voxel(c.centre)[2]), "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

std::string page_of(const Prediction& p, const PredictionOptions& options, std::vector<ReportPicture> pictures) {
  std::string page = page_begin(p.id);
  double seconds = 0;
  for (const auto& stage : p.seconds) seconds += stage.second;
  std::vector<std::pair<std::string, std::string>> figures{
      {text(p.nodules(options.threshold) == 1 ? "nodule" : "nodules", ", probability above ",
            number(options.threshold)),
       text(p.nodules(options.threshold))},
      {text("candidates, voxels above ", number(options.candidates.threshold)), text(p.candidates.size())}};
  if (p.left_ml + p.right_ml > 0)
    figures.emplace_back(
        text("litres of lung (right ", fixed(p.right_ml / 1000, 1), ", left ", fixed(p.left_ml / 1000, 1), ")"),
        fixed((p.left_ml + p.right_ml) / 1000, 1));
  figures.emplace_back("seconds", fixed(seconds, 1));
  page += page_key_figures(figures) + "</header>\n<main>\n" + page_findings(p.warnings);
  const auto is_lung = [](uint8_t label) { return (label & kLungs) != 0; };
  const bool looked = !p.scan.labels || std::any_of(p.scan.labels, p.scan.labels + p.mask.voxels.size(), is_lung);
  page += !p.candidates.empty() ? candidate_table(p)
          : looked              ? "<p>Nothing in this scan looks like a nodule to the network.</p>\n"
                                : "<p>No lung was found, so the network looked at nothing.</p>\n";
  if (!pictures.empty())
    page += page_pictures({{"Most probable candidates",
                            "The slice, and a square of 60 mm around the candidate, without and with its outline. The "
                            "patient's right is on the left.",
                            std::move(pictures)}},
                          /*with_truth=*/false);
  std::vector<std::pair<std::string, std::string>> facts{{"file", p.path}};
  const Grid& grid = p.mask.grid;
  facts.emplace_back("size", text(grid.size[0], " x ", grid.size[1], " x ", grid.size[2], " voxels of ",
                                  number(grid.spacing[0], 4), " x ", number(grid.spacing[1], 4), " x ",
                                  number(grid.spacing[2], 4), " mm, axes from ", orientation(grid)));
  for (const auto& [stage, time] : p.seconds) facts.emplace_back(stage, fixed(time, 2) + " s");
  facts.insert(facts.end(), options.about.begin(), options.about.end());
  return page + page_facts("The scan", facts) + kNoDiagnosis + page_end();
}

}  // namespace

int64_t Prediction::nodules(double threshold) const {
  return std::count_if(candidates.begin(), candidates.end(),
                       [&](const Candidate& c) { return c.probability > threshold; });
}

Prediction predict_scan(const std::string& path, const std::vector<Segmenter>& networks,
                        const PredictionOptions& options,
                        const std::function<void(const ScanView&, std::vector<Candidate>&)>& score,
                        const std::function<void(int64_t, int64_t)>& after_slice) {
  const InputFormat& format = networks.at(0).format;
  Prediction p;
  p.path = path;
  p.placed = !volume_ending(path).empty();
  p.id = p.placed ? volume_name(path) : fs::path(path).stem().string();
  Stages stages(p);
  if (format.lungs) {
    if (!p.placed) fail(path, ": is no scan (", kVolumeEndingsText, "); the network was trained on scans of the chest");
    auto ct = read_volume<int16_t>(path);
    stages.end("reading");
    Lungs lungs = find_lungs(ct);
    p.left_ml = lungs.left_ml, p.right_ml = lungs.right_ml, p.warnings = std::move(lungs.warnings);
    for (uint8_t& label : lungs.mask.voxels) label = label ? kLungs : 0;
    p.scan = make_scan(p.id, std::move(ct), std::move(lungs.mask), {});
    stages.end("finding the lungs");
  } else {
    p.scan = picture_scan(path);
    stages.end("reading");
  }
  const ScanView& image = p.scan.image;
  const Grid& grid = image.grid;
  if (image.channels != format.channels)
    fail(path, ": has ", image.channels, " channels; the network was trained on images of ", format.channels);
  look_at_window(image, format.window, p.warnings);
  look_at_spacing(grid, format, p.warnings);
  p.window = format.window;

  const int64_t classes = p.classes = networks[0].net->options().out, pixels = grid.size[0] * grid.size[1];
  const bool points = p.placed && classes == 1 && format.of_scans();
  p.mask = Volume<uint8_t>(grid);
  if (points) p.probability = Volume<float>(grid);
  segment_slices(networks, image, p.scan.labels, options.segment, [&](int64_t z, const float* of_slice) {
    classes_of(of_slice, pixels, classes, options.threshold, p.mask.slice(z));
    if (points) std::copy_n(of_slice, pixels, p.probability.slice(z));
    if (after_slice) after_slice(z + 1, grid.size[2]);
    return true;
  });
  stages.end("the network");
  if (!points) return p;
  p.candidates = find_candidates(p.probability, p.id, options.candidates);
  stages.end("candidates");
  if (score) {
    score(image, p.candidates);
    stages.end("the classifier");
  }
  return p;
}

std::vector<std::string> write_prediction(Prediction& p, const std::string& folder, const PredictionOptions& options) {
  Stages stages(p);
  const HuWindow window = p.probability.voxels.empty() ? p.window : HuWindow{};
  std::vector<std::string> files;
  const auto named = [&](const std::string& ending) {
    files.push_back(p.id + ending);
    return folder + "/" + files.back();
  };
  remove_old(folder, p.id);
  if (!p.placed && p.mask.grid.size[2] == 1)
    write_mask_picture(named("_mask.png"), p.mask, /*white=*/p.classes == 1);
  else
    write_volume(named("_mask.mhd"), p.mask, /*compressed=*/true);
  if (options.rle) write_file(named("_rle.csv"), encoded(p));
  if (p.probability.voxels.empty()) {
    const int zoom = picture_zoom(p.mask.grid);
    for (int64_t z : fullest_slices(p.mask, size_t(options.pictures), 3))
      write_png(named(text("_z", z, ".png")),
                montage({overlay(p.scan.image, z, nullptr, nullptr, zoom, window),
                         overlay(p.scan.image, z, nullptr, p.mask.slice(z), zoom, window)},
                        2));
    return files;
  }
  if (options.probability) write_volume(named("_prob.mhd"), p.probability, /*compressed=*/true);
  std::vector<ReportPicture> pictures;
  for (size_t i = 0; i < p.candidates.size() && i < size_t(options.pictures); i++) {
    pictures.push_back({caption(p, i), picture_of(p, p.candidates[i], options, window)});
    write_png(named(text("_candidate", i + 1, ".png")), pictures.back().picture);
  }
  stages.end("writing");
  write_file(named(".html"), page_of(p, options, std::move(pictures)));
  return files;
}

std::string batch_html(const std::string& title, const std::vector<BatchRow>& rows) {
  std::vector<std::string> findings;
  bool pages = false;
  for (const BatchRow& row : rows) {
    pages = pages || row.page;
    if (!row.error.empty()) findings.push_back(row.error);
    for (const std::string& warning : row.warnings) findings.push_back(row.id + ": " + warning);
  }
  const auto failures = std::count_if(rows.begin(), rows.end(), [](const BatchRow& row) { return !row.error.empty(); });
  std::string page = page_begin(title);
  page += page_key_figures({{"scans", text(rows.size())}, {"failed", text(failures)}}) + "</header>\n<main>\n" +
          page_findings(findings);
  page +=
      "<h2>Scans</h2>\n<table class='numbers'>\n<thead><tr><th scope='col'>scan</th><th scope='col'>nodules</th><th "
      "scope='col'>"
      "candidates</th><th scope='col'>most probable</th><th scope='col'>seconds</th></tr></thead>\n<tbody>\n";
  for (const BatchRow& row : rows) {
    if (!row.error.empty()) continue;
    page += row.page ? text("<tr><th scope='row'><a href='", url_of(row.id), ".html'>", escaped(row.id),
                            "</a></th><td>", row.nodules, "</td><td>", row.candidates, "</td><td>",
                            row.candidates > 0 ? fixed(row.most_probable, 3) : "\xE2\x80\x93")
                     : text("<tr><th scope='row'>", escaped(row.id), "</th><td></td><td></td><td>");
    page += text("</td><td>", fixed(row.seconds, 1), "</td></tr>\n");
  }
  page += "</tbody></table>\n";
  if (pages) page += text("<p>All candidates: <a href='nodules.csv'>nodules.csv</a></p>\n", kNoDiagnosis);
  return page + page_end();
}

}  // namespace acinus
