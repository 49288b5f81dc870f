#include "data/dataset/cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/chest/lungs.h"
#include "data/formats/metaimage.h"
#include "data/formats/nifti.h"
#include "data/formats/picture.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr int64_t kPage = 4096;
constexpr int64_t kMostBytes = int64_t(1) << 50;  // a header may claim any size

// ---- what a file depends on -----------------------------------------------------------------------------------------

std::string hash_of(const std::string& what) {  // in hexadecimal
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx",
                static_cast<unsigned long long>(fingerprint(what.data(), int64_t(what.size()))));
  return hex;
}

// A file's name, size and time; also of the files that a MetaImage header names.
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

std::string key_of(const Source& source, bool pairs, const CacheOptions& options) {
  std::string all = text("version ", kVersion, pairs ? " pairs " : " luna ", options_text(options), "\n");
  all += state_of(source.path);
  if (!source.mask.empty()) all += state_of(source.mask);
  for (const Annotation& a : source.nodules)
    all += text(shortest(a.centre[0]), " ", shortest(a.centre[1]), " ", shortest(a.centre[2]), " ",
                shortest(a.diameter_mm), "\n");
  return hash_of(all);
}

// Scans of other options lie beside: to change them and change them back costs nothing. The hash also tells a/b from
// a+b, and long names, which no file may have, from each other.
std::string file_of(const Source& source, const CacheOptions& options) {
  std::string name = source.id.substr(0, 150);
  std::replace(name.begin(), name.end(), '/', '+');
  return text(options.folder, "/", name, "-", hash_of(text(source.id, "\n", options_text(options))), ".safetensors");
}

// ---- from files to a scan in memory ---------------------------------------------------------------------------------

struct Made {
  ScanView image;  // after look(), into one of the next two
  std::vector<int16_t> words;
  std::vector<uint8_t> bytes;
  void look() { bytes.empty() ? void(image.words = words.data()) : void(image.bytes = bytes.data()); }

  std::vector<uint8_t> labels;
  std::vector<std::string> warnings;
};

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

Made make_ct(const Source& source, const CacheOptions& options) {
  Made made;
  Volume<int16_t> ct = read_volume<int16_t>(source.path);
  const Grid grid = ct.grid;
  Volume<uint8_t> labels = nodule_mask(source, grid, options);
  if (options.lungs) {
    const Lungs lungs = find_lungs(ct);
    made.warnings = lungs.warnings;
    for (size_t i = 0; i < labels.voxels.size(); i++)
      if (lungs.mask.voxels[i]) labels.voxels[i] |= kLungs;
  } else {
    for (uint8_t& label : labels.voxels) label |= kLungs;
  }
  for (const Annotation& a : source.nodules) {
    const auto where = text("the nodule at (", a.centre[0], ", ", a.centre[1], ", ", a.centre[2], ") mm ");
    const Vec3 centre = grid.to_voxel(a.centre);
    if (!grid.contains(centre)) {
      made.warnings.push_back(where + "lies outside the scan; passed over");
      continue;
    }
    Index3 at;
    for (size_t i = 0; i < 3; i++) at[i] = std::clamp<int64_t>(std::llround(centre[i]), 0, grid.size[i] - 1);
    if (!(labels.at(at[0], at[1], at[2]) & kLungs)) made.warnings.push_back(where + "lies outside the lungs found");
  }
  made.image.grid = grid;
  if (options.bytes) {
    made.image.shift = options.window.low;
    made.image.scale = (options.window.high - options.window.low) / 255;
    made.bytes.resize(ct.voxels.size());
    std::transform(ct.voxels.begin(), ct.voxels.end(), made.bytes.begin(),
                   [&](int16_t hu) { return uint8_t(options.window(hu) * 255 + 0.5f); });
  } else {
    made.words = std::move(ct.voxels);
  }
  made.labels = std::move(labels.voxels);
  return made;
}

// Any values as int16 with a scale: whole numbers that span less than 65536 exactly, others in 65535 steps.
void store_values(const Image& image, const std::string& path, Made& made) {
  with_type(image.type, [&](auto zero) {
    using T = decltype(zero);
    const T* values = reinterpret_cast<const T*>(image.data.data());
    const int64_t n = image.values();
    if constexpr (std::is_same_v<T, uint8_t>) {
      made.bytes.assign(values, values + n);
    } else {
      double low = INFINITY, high = -INFINITY;
      bool whole = true;
      for (int64_t i = 0; i < n; i++) {
        const double value = double(values[i]);
        if (!std::isfinite(value)) fail(path, ": value ", i, " of the image is ", value, "; replace it by a number");
        low = std::min(low, value), high = std::max(high, value);
        whole = whole && value == std::floor(value);
      }
      const bool as_it_is = whole && low >= -32768 && high <= 32767, exact = whole && high - low <= 65535;
      const double step = (high - low) / 65535;
      if (!std::isfinite(step)) fail(path, ": values from ", low, " to ", high, "; that is too far apart");
      made.image.scale = exact || step == 0 ? 1 : step;
      made.image.shift = as_it_is ? 0 : low + 32768 * made.image.scale;
      made.words.resize(size_t(n));
      for (int64_t i = 0; i < n; i++)
        made.words[size_t(i)] =
            int16_t(std::clamp(std::round((double(values[i]) - made.image.shift) / made.image.scale), -32768., 32767.));
    }
  });
}

Made make_picture(const std::string& path) {
  Made made;
  const Image image = read_picture(path);
  made.image.grid = picture_grid(image, path);
  made.image.channels = image.channels;
  made.image.outside = -std::numeric_limits<double>::infinity();  // black, whatever the window
  store_values(image, path, made);
  return made;
}

Made make_pair(const Source& source, const CacheOptions& options) {
  Made made = make_picture(source.path);
  Volume<uint8_t> labels = read_mask(source.mask, options.classes);
  // Pictures have no place in the world.
  const bool placed = !volume_ending(source.path).empty() && !volume_ending(source.mask).empty();
  if (!placed) labels.grid = Grid{labels.grid.size, {1, 1, 1}, {0, 0, 0}, Grid().direction};
  check_same_grid(labels.grid, source.mask, placed ? made.image.grid : Grid{made.image.grid.size}, source.path);
  for (uint8_t& label : labels.voxels) label |= kLungs;
  made.labels = std::move(labels.voxels);
  return made;
}

// ---- the file -------------------------------------------------------------------------------------------------------

json to_json(const Grid& grid) {
  return {{"size", grid.size}, {"spacing", grid.spacing}, {"origin", grid.origin}, {"direction", grid.direction}};
}

int64_t bytes_of(const Grid& grid, int64_t channels, bool bytes) {
  return grid.size[2] * 24 + grid.voxels() * (channels * (bytes ? 1 : 2) + 1);
}

void write_cache(const std::string& path, const std::string& key, const Made& made,
                 const std::vector<SliceCount>& slices) {
  const ScanView& image = made.image;
  const bool bytes = !made.bytes.empty();
  json about{{"version", kVersion},
             {"key", key},
             {"grid", to_json(image.grid)},
             {"channels", image.channels},
             {"bytes", bytes},
             {"scale", image.scale},
             {"shift", image.shift},
             {"warnings", made.warnings},
             {"classes", highest_class(made.labels.data(), image.grid.voxels())},
             {"labels", fingerprint(made.labels.data(), image.grid.voxels())}};
  if (std::isfinite(image.outside)) about["outside"] = image.outside;
  const std::string scan = about.dump();
  const auto [x, y, z] = image.grid.size;
  const int64_t values = image.grid.voxels() * image.channels * (bytes ? 1 : 2), counts = z * 24;
  json header{{"__metadata__", {{"acinus.scan", scan}, {"acinus.hash", hash_of(scan)}}},
              {"slices", {{"dtype", "I64"}, {"shape", {z, 3}}, {"data_offsets", {0, counts}}}},
              {"image",
               {{"dtype", bytes ? "U8" : "I16"},
                {"shape", {z, y, x, image.channels}},
                {"data_offsets", {counts, counts + values}}}},
              {"labels",
               {{"dtype", "U8"},
                {"shape", {z, y, x}},
                {"data_offsets", {counts + values, counts + values + image.grid.voxels()}}}}};
  std::string front = header.dump();
  front.resize(((front.size() + 8 + kPage - 1) / kPage * kPage) - 8, ' ');
  const uint64_t length = front.size();
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(front);
  for (const SliceCount& slice : slices) {
    const int64_t row[] = {slice.foreground, slice.lungs, slice.hard};
    file.write(row, sizeof row);
  }
  file.write(bytes ? static_cast<const void*>(made.bytes.data()) : made.words.data(), values);
  file.write(made.labels.data(), image.grid.voxels());
  file.commit();
}

// False if the file is not there, or was made from something else, or by another version, or is damaged.
bool map_cache(const std::string& path, const std::string& key, CachedScan& cached) try {
  if (!fs::exists(path)) return false;
  const auto file = std::make_shared<MappedFile>(path);
  uint64_t length = 0;
  if (file->size() < 8) return false;
  std::copy_n(file->data(), 8, reinterpret_cast<char*>(&length));
  if (length > 64 << 20 || int64_t(length) > file->size() - 8) return false;
  const json header = json::parse(file->data() + 8, file->data() + 8 + length);
  const json& metadata = header.at("__metadata__");
  const auto text_of_scan = metadata.at("acinus.scan").get<std::string>();
  if (metadata.at("acinus.hash").get<std::string>() != hash_of(text_of_scan)) return false;
  const json about = json::parse(text_of_scan);
  if (about.at("version").get<int>() != kVersion || about.at("key").get<std::string>() != key) return false;

  Scan& scan = cached.scan;
  ScanView& image = scan.image;
  const json& grid = about.at("grid");
  grid.at("size").get_to(image.grid.size);
  grid.at("spacing").get_to(image.grid.spacing);
  grid.at("origin").get_to(image.grid.origin);
  grid.at("direction").get_to(image.grid.direction);
  about.at("channels").get_to(image.channels);
  about.at("scale").get_to(image.scale);
  about.at("shift").get_to(image.shift);
  image.outside = about.contains("outside") ? about["outside"].get<double>() : -std::numeric_limits<double>::infinity();
  about.at("warnings").get_to(cached.warnings);
  about.at("classes").get_to(scan.classes);
  about.at("labels").get_to(scan.labels_fingerprint);
  const bool bytes = about.at("bytes").get<bool>();
  const char* at = file->data() + 8 + length;
  if (file->size() != 8 + int64_t(length) + bytes_of(image.grid, image.channels, bytes)) return false;

  scan.slices.resize(size_t(image.grid.size[2]));
  for (SliceCount& slice : scan.slices) {
    int64_t row[3];
    std::copy_n(at, sizeof row, reinterpret_cast<char*>(row));
    at += sizeof row;
    slice = {row[0], row[1], row[2]};
    for (int64_t count : row)
      if (count < 0 || count > image.grid.size[0] * image.grid.size[1]) return false;
    scan.foreground += slice.foreground;
  }
  if (bytes)
    image.bytes = reinterpret_cast<const uint8_t*>(at);
  else
    image.words = reinterpret_cast<const int16_t*>(at);
  scan.labels = reinterpret_cast<const uint8_t*>(at) + image.grid.voxels() * image.channels * (bytes ? 1 : 2);
  scan.memory = file;
  return true;
} catch (const json::exception&) {
  return false;
}

}  // namespace

Scan picture_scan(const std::string& path) {
  const auto made = std::make_shared<Made>(make_picture(path));
  made->look();
  Scan scan;
  scan.image = made->image;
  scan.memory = made;
  return scan;
}

int64_t bytes_to_cache(const Source& source, bool pairs, const CacheOptions& options) {
  CachedScan cached;
  if (map_cache(file_of(source, options), key_of(source, pairs, options), cached)) return 0;
  const std::string ending = volume_ending(source.path);
  if (ending.empty()) return int64_t(fs::file_size(source.path)) * 8;  // a .png shrinks by that
  const ImageInfo info = ending.starts_with(".nii") ? ImageInfo(read_nifti_header(source.path))
                                                    : ImageInfo(read_metaimage_header(source.path));
  if (info.bytes() > kMostBytes) return kMostBytes;
  return bytes_of(picture_grid(info, source.path), info.channels, !pairs && options.bytes);
}

CachedScan cached_scan(const Source& source, bool pairs, const CacheOptions& options) {
  CachedScan cached;
  const std::string path = file_of(source, options), key = key_of(source, pairs, options);
  if (!map_cache(path, key, cached)) {
    cached = {};
    Made made = pairs ? make_pair(source, options) : make_ct(source, options);
    made.look();
    write_cache(path, key, made, count_slices(made.image, made.labels.data()));
    made = {};
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
