#include "data/dataset/cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "data/chest/lungs.h"
#include "data/formats/metaimage.h"
#include "data/formats/nifti.h"
#include "data/formats/picture.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr int64_t kPage = 4096;
constexpr int64_t kSliceBytes = sizeof(SliceCount);  // of a row of `slices`: three int64_t
constexpr int64_t kMaxBytes = int64_t(1) << 50;      // a header may claim any size

// ---- what a file depends on -----------------------------------------------------------------------------------------

std::string hash_of(const std::string& text) {  // in hexadecimal
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(fnv1a(text.data(), int64_t(text.size()))));
  return hex;
}

// The name, size and time of a file, and of those that a MetaImage header names.
std::string state_of(const std::string& path) {
  std::vector<std::string> files{path};
  if (path.ends_with(".mhd") || path.ends_with(".mha"))
    for (const std::string& file : read_metaimage_header(path).files) files.push_back(file);
  std::string states;
  for (const std::string& file : files) {
    struct stat status {};
    if (stat(file.c_str(), &status) != 0) InputFile{file};  // says why
    states += text(fs::weakly_canonical(file).string(), " ", status.st_size, " ", status.st_mtim.tv_sec, ".",
                   status.st_mtim.tv_nsec, "\n");
  }
  return states;
}

std::string options_text(const CacheOptions& o) {
  std::string all = text(int(o.masks), o.lungs, "0 ");  // 0: an option that is gone; so older files are still found
  if (o.bytes) all += text("bytes ", shortest(o.window.low), " ", shortest(o.window.high));
  for (int64_t value : o.classes) all += text(" ", value);
  return all;
}

std::string key_of(const Source& source, DataKind kind, const CacheOptions& options) {
  std::string all =
      text("version ", kVersion, kind == DataKind::pictures ? " pairs " : " luna ", options_text(options), "\n");
  all += state_of(source.path);
  if (!source.mask.empty()) all += state_of(source.mask);
  for (const Annotation& a : source.nodules)
    all += text(shortest(a.centre[0]), " ", shortest(a.centre[1]), " ", shortest(a.centre[2]), " ",
                shortest(a.diameter_mm), "\n");
  return hash_of(all);
}

// Each set of options has its own file, so that changing options back costs nothing. The hash also distinguishes a/b from
// a+b, and names that are too long for a file from each other.
std::string file_of(const Source& source, const CacheOptions& options) {
  std::string name = source.id.substr(0, 150);
  std::replace(name.begin(), name.end(), '/', '+');
  return text(options.folder, "/", name, "-", hash_of(text(source.id, "\n", options_text(options))), ".safetensors");
}

// ---- from files to a scan in memory ---------------------------------------------------------------------------------

Volume<uint8_t> nodule_mask(const Source& source, const Grid& grid, const CacheOptions& options) {
  const bool outlined = !source.mask.empty() && options.masks != MaskSource::spheres;
  if (!outlined && options.masks == MaskSource::readers)
    fail("no outlines of scan ", source.id, " in readers/; use --masks auto or spheres");
  if (outlined) {
    const Volume<uint8_t> readers = read_volume<uint8_t>(source.mask);
    check_same_grid(readers.grid, source.mask, grid, source.path);
    return reader_mask(readers);
  }
  return sphere_mask(grid, source.nodules);
}

// Warns of nodules that lie outside the scan or the lungs.
void check_nodules(const Source& source, const Volume<uint8_t>& labels, std::vector<std::string>& warnings) {
  const Grid& grid = labels.grid;
  for (const Annotation& a : source.nodules) {
    const auto nodule = text("the nodule at (", a.centre[0], ", ", a.centre[1], ", ", a.centre[2], ") mm ");
    const Vec3 centre = grid.to_voxel(a.centre);
    const auto [x, y, z] = nearest_voxel(grid, centre);
    if (!grid.contains(centre))
      warnings.push_back(nodule + "lies outside the scan; passed over");
    else if (!(labels.at(x, y, z) & kLungs))
      warnings.push_back(nodule + "lies outside the lungs found");
  }
}

CachedScan prepare_ct(const Source& source, const CacheOptions& options) {
  Volume<int16_t> ct = read_volume<int16_t>(source.path);
  Volume<uint8_t> labels = nodule_mask(source, ct.grid, options);
  Lungs lungs;
  if (options.lungs) lungs = find_lungs(ct);
  for (size_t i = 0; i < labels.voxels.size(); i++)
    if (!options.lungs || lungs.mask.voxels[i]) labels.voxels[i] |= kLungs;
  check_nodules(source, labels, lungs.warnings);
  Scan scan;
  scan.image.grid = ct.grid;
  if (options.bytes) {
    scan.image.shift = options.window.low;
    scan.image.scale = (options.window.high - options.window.low) / 255;
    std::vector<uint8_t> bytes(ct.voxels.size());
    std::ranges::transform(ct.voxels, bytes.begin(),
                           [&](int16_t hu) { return uint8_t(options.window(hu) * 255 + 0.5f); });
    scan.image.point_to(scan.keep(std::move(bytes)));
  } else {
    scan.image.point_to(scan.keep(std::move(ct.voxels)));
  }
  scan.labels = scan.keep(std::move(labels.voxels));
  return {std::move(scan), std::move(lungs.warnings)};
}

// Stores values of any type as int16 with a scale: integers that span less than 65536 exactly, others in 65535 steps.
void store_values(const Image& image, const std::string& path, Scan& scan) {
  with_type(image.type, [&](auto zero) {
    using T = decltype(zero);
    const T* values = reinterpret_cast<const T*>(image.data.data());
    const int64_t n = image.values();
    if constexpr (std::is_same_v<T, uint8_t>) {
      scan.image.point_to(scan.keep(std::vector<uint8_t>(values, values + n)));
    } else {
      double low = INFINITY, high = -INFINITY;
      bool whole = true;
      for (int64_t i = 0; i < n; i++) {
        const double value = double(values[i]);
        if (!std::isfinite(value)) fail(path, ": value ", i, " of the image is ", value, "; replace it by a number");
        low = std::min(low, value), high = std::max(high, value);
        whole = whole && value == std::floor(value);
      }
      const bool fits = whole && low >= -32768 && high <= 32767, exact = whole && high - low <= 65535;
      const double step = (high - low) / 65535;
      if (!std::isfinite(step)) fail(path, ": values from ", low, " to ", high, "; that is too far apart");
      const double scale = exact || step == 0 ? 1 : step, shift = fits ? 0 : low + 32768 * scale;
      std::vector<int16_t> stored(n);
      for (int64_t i = 0; i < n; i++)
        stored[i] = int16_t(std::clamp(std::round((double(values[i]) - shift) / scale), -32768., 32767.));
      scan.image.scale = scale, scan.image.shift = shift;
      scan.image.point_to(scan.keep(std::move(stored)));
    }
  });
}

CachedScan prepare_picture(const Source& source, const CacheOptions& options) {
  Scan scan = picture_scan(source.path);
  Volume<uint8_t> labels = read_mask(source.mask, options.classes);
  // Pictures have no position in the world: only their sizes must match.
  const bool placed = !volume_ending(source.path).empty() && !volume_ending(source.mask).empty();
  const auto place = [&](const Grid& grid) { return placed ? grid : Grid{grid.size}; };
  check_same_grid(place(labels.grid), source.mask, place(scan.image.grid), source.path);
  for (uint8_t& label : labels.voxels) label |= kLungs;
  scan.labels = scan.keep(std::move(labels.voxels));
  return {std::move(scan), {}};
}

// ---- the file -------------------------------------------------------------------------------------------------------

// Calls visit(path, value) for what a file's description holds of a scan, to write or to read it.
template <class Cached, class Visit>
void visit_description(Cached& cached, Visit visit) {
  auto& image = cached.scan.image;
  visit("grid.size", image.grid.size);
  visit("grid.spacing", image.grid.spacing);
  visit("grid.origin", image.grid.origin);
  visit("grid.direction", image.grid.direction);
  visit("channels", image.channels);
  visit("scale", image.scale);
  visit("shift", image.shift);
  visit("warnings", cached.warnings);
  visit("classes", cached.scan.classes);
  visit("labels", cached.scan.labels_hash);
}

int64_t data_bytes(const ScanView& image) {
  const int64_t voxels = image.grid.voxels();
  return image.grid.size[2] * kSliceBytes + image.bytes(voxels) + voxels;
}

void write_cache(const std::string& path, const std::string& key, const CachedScan& prepared) {
  const Scan& scan = prepared.scan;
  const ScanView& image = scan.image;
  const bool bytes = image.type == ElementType::u8;
  Json about{{"version", kVersion}, {"key", key}, {"bytes", bytes}};
  visit_description(prepared, [&](const char* path, const auto& value) { about.path(path) = value; });
  if (std::isfinite(image.outside)) about["outside"] = image.outside;
  const std::string description = to_text(about);
  const auto [x, y, z] = image.grid.size;
  const int64_t voxels = image.grid.voxels(), values = image.bytes(voxels);
  const int64_t image_begin = z * kSliceBytes, labels_begin = image_begin + values, end = labels_begin + voxels;
  using List = std::vector<int64_t>;
  const Json header{{"__metadata__", {{"acinus.scan", description}, {"acinus.hash", hash_of(description)}}},
                    {"slices", {{"dtype", "I64"}, {"shape", List{z, 3}}, {"data_offsets", List{0, image_begin}}}},
                    {"image",
                     {{"dtype", bytes ? "U8" : "I16"},
                      {"shape", List{z, y, x, image.channels}},
                      {"data_offsets", List{image_begin, labels_begin}}}},
                    {"labels", {{"dtype", "U8"}, {"shape", List{z, y, x}}, {"data_offsets", List{labels_begin, end}}}}};
  std::string front = to_text(header);
  front.resize(((front.size() + 8 + kPage - 1) / kPage * kPage) - 8, ' ');
  const uint64_t length = front.size();
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(front);
  file.write(scan.slices.data(), z * kSliceBytes);
  file.write(image.values, values);
  file.write(scan.labels, voxels);
  file.commit();
}

// False if the file does not exist, was made from other files or by another version, or is damaged.
bool map_cache(const std::string& path, const std::string& key, CachedScan& cached) try {
  if (!fs::exists(path)) return false;
  const auto file = std::make_shared<MappedFile>(path);
  uint64_t length = 0;
  if (file->size() < 8) return false;
  std::memcpy(&length, file->data(), 8);
  if (length > 64 << 20 || int64_t(length) > file->size() - 8) return false;
  const Json header = parse_json({file->data() + 8, length});
  const Json& metadata = header.at("__metadata__");
  const auto description = metadata.at("acinus.scan").as<std::string>();
  if (metadata.at("acinus.hash").as<std::string>() != hash_of(description)) return false;
  const Json about = parse_json(description);
  if (about.at("version").as<int>() != kVersion || about.at("key").as<std::string>() != key) return false;

  Scan& scan = cached.scan;
  ScanView& image = scan.image;
  visit_description(
      cached, [&](const char* path, auto& value) { value = about.path(path).as<std::decay_t<decltype(value)>>(); });
  const Json* outside = about.find("outside");
  image.outside = outside ? outside->as<double>() : -std::numeric_limits<double>::infinity();
  image.type = about.at("bytes").as<bool>() ? ElementType::u8 : ElementType::i16;
  const char* data = file->data() + 8 + length;
  if (file->size() != 8 + int64_t(length) + data_bytes(image)) return false;

  scan.slices.resize(image.grid.size[2]);
  std::memcpy(scan.slices.data(), data, scan.slices.size() * kSliceBytes);
  for (const SliceCount& slice : scan.slices) {
    for (int64_t count : {slice.foreground, slice.lungs, slice.hard})
      if (count < 0 || count > image.grid.size[0] * image.grid.size[1]) return false;
    scan.foreground += slice.foreground;
  }
  image.values = data + scan.slices.size() * kSliceBytes;
  scan.labels = static_cast<const uint8_t*>(image.values) + image.bytes(image.grid.voxels());
  scan.memory = {file};
  return true;
} catch (const JsonError&) {
  return false;
}

}  // namespace

Scan picture_scan(const std::string& path) {
  const Image image = read_picture(path);
  Scan scan;
  scan.image.grid = picture_grid(image, path);
  scan.image.channels = image.channels;
  scan.image.outside = -std::numeric_limits<double>::infinity();  // black, whatever the window
  store_values(image, path, scan);
  return scan;
}

int64_t bytes_to_cache(const Source& source, DataKind kind, const CacheOptions& options) {
  CachedScan cached;
  if (map_cache(file_of(source, options), key_of(source, kind, options), cached)) return 0;
  const std::string ending = volume_ending(source.path);
  if (ending.empty()) return int64_t(fs::file_size(source.path)) * 8;  // a .png shrinks by that
  const ImageInfo info = ending.starts_with(".nii") ? ImageInfo(read_nifti_header(source.path))
                                                    : ImageInfo(read_metaimage_header(source.path));
  if (info.bytes() > kMaxBytes) return kMaxBytes;
  ScanView image;
  image.grid = picture_grid(info, source.path);
  image.channels = info.channels;
  if (kind == DataKind::ct && options.bytes) image.type = ElementType::u8;
  return data_bytes(image);
}

CachedScan cached_scan(const Source& source, DataKind kind, const CacheOptions& options) {
  CachedScan cached;
  const std::string path = file_of(source, options), key = key_of(source, kind, options);
  if (!map_cache(path, key, cached)) {
    cached = kind == DataKind::pictures ? prepare_picture(source, options) : prepare_ct(source, options);
    cached.scan.count_labels();
    write_cache(path, key, cached);
    cached = {};
    if (!map_cache(path, key, cached)) fail(path, ": changed while it was being written; is another program at it?");
    cached.made = true;
  }
  Scan& scan = cached.scan;
  scan.id = source.id, scan.path = source.path, scan.patient = source.patient, scan.fold = source.fold;
  for (const Annotation& a : source.nodules)
    (scan.image.grid.contains(scan.image.grid.to_voxel(a.centre)) ? scan.nodules : scan.outside).push_back(a);
  return cached;
}

}  // namespace acinus
