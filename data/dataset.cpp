#include "data/dataset.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include "data/mask.h"
#include "tensor/file.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

namespace acinus {
namespace {

namespace fs = std::filesystem;

// All scans below a folder by seriesuid, which is the file's name without its ending. Outlines and masks lie
// beside scans under names of their own; they are no scans.
std::map<std::string, std::string> find_scans(const std::string& folder) {
  std::map<std::string, std::string> scans;
  const auto options = fs::directory_options::skip_permission_denied | fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(folder, options)) {
    const std::string path = entry.path().string(), uid = volume_name(path);
    if (volume_ending(path).empty()) continue;
    if (uid.ends_with("_readers") || uid.ends_with("_mask") || uid.ends_with("_prob")) continue;
    const auto [it, is_new] = scans.emplace(uid, path);
    if (!is_new) fail("the scan ", uid, " is there twice: ", it->second, " and ", path, "; remove one");
  }
  return scans;
}

// The mask of the readers, if there is one, on the scan's own grid.
bool read_outlines(const std::string& folder, const Patient& patient, Volume<uint8_t>& mask) {
  std::string path;
  for (const char* ending : kVolumeEndings)
    if (path.empty() || !fs::exists(path)) path = folder + "/readers/" + patient.seriesuid + "_readers" + ending;
  if (!fs::exists(path)) return false;
  const Volume<uint8_t> readers = read_volume<uint8_t>(path);
  if (readers.grid.size != patient.ct.grid.size)
    fail(path, ": ", readers.grid.size[0], "x", readers.grid.size[1], "x", readers.grid.size[2],
         " voxels, but its scan has ", patient.ct.grid.size[0], "x", patient.ct.grid.size[1], "x",
         patient.ct.grid.size[2]);
  // The corners must lie where the scan's do, within half a voxel: outlines of a grid that is flipped or moved would
  // teach wrong places.
  const Index3 size = readers.grid.size;
  for (int corner = 0; corner < 8; corner++) {
    Vec3 at{};
    for (int i = 0; i < 3; i++) at[size_t(i)] = corner >> i & 1 ? double(size[size_t(i)] - 1) : 0;
    const Vec3 there = patient.ct.grid.to_voxel(readers.grid.to_world(at));
    for (size_t i = 0; i < 3; i++)
      if (!(std::abs(there[i] - at[i]) < 0.5))
        fail(path, ": its voxel (", at[0], ", ", at[1], ", ", at[2], ") lies at (", there[0], ", ", there[1], ", ",
             there[2], ") of the scan ", patient.path, "; their origin, spacing or direction differ");
  }
  mask = reader_mask(readers);
  mask.grid = patient.ct.grid;
  return true;
}

std::string count(size_t n, const char* noun) { return text(n, " ", noun, n == 1 ? "" : "s"); }

}  // namespace

MaskSource mask_source_named(const std::string& name) {
  if (name == "auto") return MaskSource::automatic;
  if (name == "spheres") return MaskSource::spheres;
  if (name == "readers") return MaskSource::readers;
  fail("unknown kind of masks \"", name, "\"; known are auto, spheres, readers");
}

Dataset load_dataset(const std::string& folder, MaskSource masks, int64_t memory_limit,
                     const std::function<void(int64_t, int64_t)>& progress) {
  if (!fs::is_directory(folder)) fail(folder, ": no such folder; --data takes a folder in LUNA16 form (see README)");
  if (!fs::exists(folder + "/annotations.csv"))
    fail(folder, ": holds no annotations.csv (seriesuid,coordX,coordY,coordZ,diameter_mm)");
  const auto scans = find_scans(folder);
  if (scans.empty()) fail(folder, ": holds no scan (", kVolumeEndingsText, "), in it or in the folders below");

  std::map<std::string, std::vector<Annotation>> annotations;
  for (const Annotation& a : read_annotations(folder + "/annotations.csv")) annotations[a.seriesuid].push_back(a);
  Dataset dataset;
  size_t without_scan = 0, matched = 0;
  for (const auto& [uid, rows] : annotations) scans.contains(uid) ? matched++ : without_scan++;
  if (matched == 0)
    fail(folder, ": no row of annotations.csv names one of the ", count(scans.size(), "scan"),
         " here; the first scan is ", scans.begin()->first, annotations.empty() ? "" : ", the first annotation names ",
         annotations.empty() ? "" : annotations.begin()->first);
  if (without_scan > 0)
    dataset.warnings.push_back(text("annotations.csv names ", count(without_scan, "scan"), " that are not here"));

  double bytes = 0;  // int16 and a mask; no int64_t: a header may claim anything
  for (const auto& [uid, path] : scans) bytes += 3 * double(read_grid(path).voxels());
  if (bytes > double(memory_limit))
    fail(folder, ": its ", count(scans.size(), "scan"), " need ", std::ceil(bytes / (1 << 20)),
         " MB of memory, the limit is ", memory_limit >> 20, " MB; raise --memory_gb or use fewer scans");

  for (const auto& [uid, path] : scans) {
    Patient patient;
    patient.seriesuid = uid;
    patient.path = path;
    patient.ct = read_volume<int16_t>(path);
    const Grid& grid = patient.ct.grid;
    for (const Annotation& a : annotations[uid])
      if (grid.contains(grid.to_voxel(a.centre)))
        patient.nodules.push_back(a);
      else
        dataset.warnings.push_back(text(uid, ": the nodule at (", a.centre[0], ", ", a.centre[1], ", ", a.centre[2],
                                        ") mm lies outside the scan; passed over"));
    const bool outlined = masks != MaskSource::spheres && read_outlines(folder, patient, patient.mask);
    if (!outlined && masks == MaskSource::readers)
      fail(folder, ": no outlines of scan ", uid, " in readers/; use --masks auto or spheres");
    if (!outlined) patient.mask = sphere_mask(grid, patient.nodules);
    patient.mask_voxels = std::accumulate(patient.mask.voxels.begin(), patient.mask.voxels.end(), int64_t(0));
    dataset.patients.push_back(std::move(patient));
    progress(int64_t(dataset.patients.size()), int64_t(scans.size()));
  }
  return dataset;
}

Split split_patients(const Dataset& dataset, double fraction, const std::string& held_out, uint64_t seed) {
  const auto& patients = dataset.patients;
  std::vector<bool> aside(patients.size(), false);
  if (!held_out.empty()) {
    for (std::string_view rest = held_out; !rest.empty();) {
      const std::string_view id = trimmed(rest.substr(0, rest.find(',')));
      rest.remove_prefix(std::min(rest.find(',') + (rest.find(',') != rest.npos), rest.size()));
      if (id.empty()) continue;
      size_t found = 0;
      for (size_t i = 0; i < patients.size(); i++)
        if (patients[i].seriesuid.ends_with(id)) aside[i] = true, found++;
      if (found == 0)
        fail("held out \"", id, "\": no seriesuid ends so; one that is there is ", patients.front().seriesuid);
      if (found > 1) fail("held out \"", id, "\": ", found, " seriesuids end so; give more characters");
    }
  } else {
    std::vector<size_t> order(patients.size());
    std::iota(order.begin(), order.end(), size_t(0));
    Random random(seed);
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[size_t(random.below(int64_t(i)))]);
    // Of those with nodules, one goes to the front, to be judged on, and one to the end, to learn from. If there is
    // only one, it is for learning.
    const auto has_nodules = [&](size_t i) { return patients[i].mask_voxels > 0; };
    const bool enough = std::count_if(order.begin(), order.end(), has_nodules) > 1;
    const auto first = std::find_if(order.begin(), order.end(), has_nodules);
    if (enough) std::rotate(order.begin(), first, first + 1);
    const auto next = std::find_if(order.begin() + enough, order.end(), has_nodules);
    if (next != order.end()) std::rotate(next, next + 1, order.end());
    const auto wanted = int64_t(std::llround(fraction * double(order.size())));
    const int64_t n = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(int64_t(order.size()) - 1, 1));
    for (int64_t i = 0; i < n; i++) aside[order[size_t(i)]] = true;
  }
  Split split;
  for (size_t i = 0; i < patients.size(); i++) (aside[i] ? split.validation : split.train).push_back(i);
  if (split.train.empty() || split.validation.empty())
    fail("of ", count(patients.size(), "patient"), ", ", split.validation.size(), " are held out and ",
         split.train.size(), " are left to train on; at least one of each is needed");
  return split;
}

void copy_planes(const Volume<int16_t>& ct, int64_t z, int64_t planes, const HuWindow& window, int64_t left,
                 int64_t top, int64_t cols, int64_t rows, float* out) {
  const Index3 size = ct.grid.size;
  for (int64_t p = 0; p < planes; p++) {
    const int16_t* slice = ct.slice(std::clamp<int64_t>(z - planes / 2 + p, 0, size[2] - 1));
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < cols; c++) {
        const int64_t y = top + r, x = left + c;
        const bool inside = y >= 0 && y < size[1] && x >= 0 && x < size[0];
        out[(r * cols + c) * planes + p] = inside ? window(slice[y * size[0] + x]) : window(-1000);
      }
  }
}

Sampler::Sampler(const Dataset& dataset, std::vector<size_t> patients, SamplingOptions options, uint64_t seed)
    : options_(options), seed_(seed) {
  check(options.size >= 1 && options.planes >= 1 && options.planes % 2 == 1, "Sampler: size ", options.size,
        ", planes ", options.planes, ": planes must be odd");
  for (size_t i : patients) {
    const Patient& patient = dataset.patients[i];
    patients_.push_back(&patient);
    for (const Annotation& nodule : patient.nodules) nodules_.emplace_back(&patient, &nodule);
    const int64_t pixels = patient.ct.grid.size[0] * patient.ct.grid.size[1];
    const size_t slices_before = slices_.size();
    for (int64_t z = 0; z < patient.ct.grid.size[2]; z++)
      if (std::find(patient.mask.slice(z), patient.mask.slice(z) + pixels, 1) != patient.mask.slice(z) + pixels)
        slices_.emplace_back(&patient, z);
    // A patient with outlines that no annotation names is drawn as often as one nodule, at any voxel of the outlines.
    if (patient.nodules.empty() && slices_.size() > slices_before) nodules_.emplace_back(&patient, nullptr);
  }
  if (slices_.empty())
    fail("none of the ", patients.size(), " training patients has a nodule; there is nothing to learn from");
}

// Any voxel of any slice of the patient that has some.
Vec3 Sampler::outlined_voxel(const Patient& patient, Random& random) const {
  std::vector<int64_t> slices;
  for (const auto& [p, z] : slices_)
    if (p == &patient) slices.push_back(z);
  const int64_t z = slices[size_t(random.below(int64_t(slices.size())))];
  const int64_t width = patient.ct.grid.size[0], pixels = width * patient.ct.grid.size[1];
  const uint8_t* mask = patient.mask.slice(z);
  int64_t at = -1;
  for (int64_t n = 1 + random.below(std::count(mask, mask + pixels, 1)); n > 0; n--)
    at = std::find(mask + at + 1, mask + pixels, 1) - mask;
  return {double(at % width), double(at / width), double(z)};
}

Sampler::Place Sampler::place(int64_t index) const {
  Random random(random_bits(seed_, uint64_t(index)));
  const bool flip_x = options_.mirror && random.uniform() < 0.5, flip_y = options_.mirror && random.uniform() < 0.5;
  if (options_.whole_slices) {
    // A permutation for each pass over the slices: piece i of the pass takes the slice with the i-th smallest hash.
    const int64_t n = nodule_slices(), pass = index / n;
    std::vector<std::pair<uint64_t, int64_t>> order;
    for (int64_t i = 0; i < n; i++) order.emplace_back(random_bits(seed_ + 1, uint64_t(pass * n + i)), i);
    std::nth_element(order.begin(), order.begin() + index % n, order.end());
    const auto& [patient, z] = slices_[size_t(order[size_t(index % n)].second)];
    return {patient, patient->ct.grid.size[0] / 2, patient->ct.grid.size[1] / 2, z, flip_x, flip_y};
  }
  if (!nodules_.empty() && random.uniform() < options_.foreground) {
    const auto& [patient, nodule] = nodules_[size_t(random.below(int64_t(nodules_.size())))];
    const Grid& grid = patient->ct.grid;
    const Vec3 centre = nodule ? grid.to_voxel(nodule->centre) : outlined_voxel(*patient, random);
    const double reach = nodule ? nodule->diameter_mm / 2 / grid.spacing[2] : 0;
    const double jitter = double(options_.size) * 0.35;
    const auto near = [&](int axis, double by) {
      const int64_t at = std::llround(centre[axis] + random.uniform(-by, by));
      return std::clamp<int64_t>(at, 0, grid.size[axis] - 1);
    };
    const int64_t x = near(0, jitter), y = near(1, jitter), z = near(2, reach);
    return {patient, x, y, z, flip_x, flip_y};
  }
  const Patient* patient = patients_[size_t(random.below(int64_t(patients_.size())))];
  const Index3 size = patient->ct.grid.size;
  Place place{patient, 0, 0, 0, flip_x, flip_y};
  const int tries = random.uniform() < 0.8 ? 20 : 1;  // a few pieces lie anywhere, the others around lung
  for (int i = 0; i < tries; i++) {
    place.x = random.below(size[0]), place.y = random.below(size[1]), place.z = random.below(size[2]);
    const int16_t hu = patient->ct.at(place.x, place.y, place.z);
    if (hu > -960 && hu < -600) break;  // lung tissue; air outside the body is below, fat and muscle above
  }
  return place;
}

void Sampler::draw(int64_t index, int64_t n, Tensor& x, Tensor& t) const {
  const int64_t side = options_.size, planes = options_.planes;
  x = Tensor({n, side, side, planes});
  t = Tensor({n, side, side, 1});
  parallel(n, /*pays=*/true, [&](int64_t i) {
    const Place at = place(index + i);
    const Volume<uint8_t>& mask = at.patient->mask;
    const int64_t left = at.x - side / 2, top = at.y - side / 2;
    float *image = x.data<float>() + i * side * side * planes, *target = t.data<float>() + i * side * side;
    copy_planes(at.patient->ct, at.z, planes, options_.window, left, top, side, side, image);
    for (int64_t r = 0; r < side; r++)
      for (int64_t c = 0; c < side; c++) {
        const int64_t y = top + r, column = left + c;
        const bool inside = y >= 0 && y < mask.grid.size[1] && column >= 0 && column < mask.grid.size[0];
        target[r * side + c] = inside ? float(mask.at(column, y, at.z)) : 0.f;
      }
    const auto mirror = [&](float* pixels, int64_t channels) {
      if (at.flip_y)
        for (int64_t r = 0; r < side / 2; r++)
          std::swap_ranges(pixels + r * side * channels, pixels + (r + 1) * side * channels,
                           pixels + (side - 1 - r) * side * channels);
      if (at.flip_x)
        for (int64_t r = 0; r < side; r++)
          for (int64_t c = 0; c < side / 2; c++)
            std::swap_ranges(pixels + (r * side + c) * channels, pixels + (r * side + c + 1) * channels,
                             pixels + (r * side + side - 1 - c) * channels);
    };
    mirror(image, planes);
    mirror(target, 1);
  });
}

}  // namespace acinus
