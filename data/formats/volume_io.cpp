#include "data/formats/volume_io.h"

#include <filesystem>

#include "data/formats/byte_source.h"
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
  if (is_nifti(path)) {
    const NiftiHeader header = read_nifti_header(path);
    volume.grid = grid_of(header, path);
    read_values(header, volume.voxels);
    return volume;
  }
  const MetaHeader header = read_metaimage_header(path);
  volume.grid = grid_of(header, path);
  if (header.type == element_type<T>) {  // without a second copy
    read_values(header, 0, header.values(), volume.voxels);
    return volume;
  }
  std::vector<std::byte> data;
  read_values(header, 0, header.values(), data);
  reserve_memory(volume.voxels, header.values(), path);
  volume.voxels.resize(header.values());
  convert(path, header.type, data.data(), 0, header.values(), volume.voxels.data());
  return volume;
}

template <class T>
void write_volume(const std::string& path, const Volume<T>& volume, bool compressed) {
  check_volume("write_volume: " + path, volume);
  const ImageInfo info = info_of(volume.grid, element_type<T>);
  const std::byte* data = reinterpret_cast<const std::byte*>(volume.voxels.data());
  if (is_nifti(path))
    write_nifti(path, info, data);
  else
    write_metaimage(path, info, data, {.compressed = compressed});
}

template Volume<int16_t> read_volume(const std::string&);
template Volume<uint8_t> read_volume(const std::string&);
template Volume<float> read_volume(const std::string&);
template void write_volume(const std::string&, const Volume<int16_t>&, bool);
template void write_volume(const std::string&, const Volume<uint8_t>&, bool);
template void write_volume(const std::string&, const Volume<float>&, bool);

}  // namespace acinus
