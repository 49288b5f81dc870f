#include "data/formats/volume_io.h"

#include <filesystem>

#include "data/formats/metaimage.h"
#include "data/formats/nifti.h"
#include "tensor/check.h"

namespace acinus {

namespace {

bool is_nifti(const std::string& path) {
  const std::string ending = volume_ending(path);
  if (ending.empty()) fail(path, ": the name does not say the format; it must end in ", kVolumeEndingsText);
  return ending.starts_with(".nii");
}

}  // namespace

std::string volume_ending(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  for (const std::string ending : kVolumeEndings)
    if (name.ends_with(ending) && name.size() > ending.size()) return ending;
  return "";
}

std::string volume_name(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  return name.substr(0, name.size() - volume_ending(path).size());
}

Grid read_grid(const std::string& path) {
  return is_nifti(path) ? grid_of(read_nifti_header(path), path) : grid_of(read_metaimage_header(path), path);
}

template <class T>
Volume<T> read_volume(const std::string& path) {
  Volume<T> volume;
  ElementType type;
  const auto append_chunk = [&](Bytes chunk) {
    // Reserved at the first chunk: by then the reader knows the file to be long enough.
    if (volume.voxels.empty()) reserve_memory(volume.voxels, volume.grid.voxels(), path);
    append(volume.voxels, type, chunk, path);
  };
  if (is_nifti(path)) {
    const NiftiHeader header = read_nifti_header(path);
    volume.grid = grid_of(header, path), type = header.type;
    read_values(header, append_chunk);
  } else {
    const MetaHeader header = read_metaimage_header(path);
    volume.grid = grid_of(header, path), type = header.type;
    read_values(header, 0, header.values(), append_chunk);
  }
  return volume;
}

template <class T>
void write_volume(const std::string& path, const Volume<T>& volume, bool compressed) {
  check_volume("write_volume: " + path, volume);
  const ImageInfo info = info_of(volume.grid, element_type<T>);
  const Bytes data = std::as_bytes(std::span(volume.voxels));
  if (is_nifti(path))
    write_nifti(path, info, data);
  else
    write_metaimage(path, info, data, compressed);
}

template Volume<int16_t> read_volume(const std::string&);
template Volume<uint8_t> read_volume(const std::string&);
template Volume<float> read_volume(const std::string&);
template void write_volume(const std::string&, const Volume<int16_t>&, bool);
template void write_volume(const std::string&, const Volume<uint8_t>&, bool);
template void write_volume(const std::string&, const Volume<float>&, bool);

}  // namespace acinus
