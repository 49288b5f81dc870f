// What the tests of sources, cache and data sets share: small folders of scans and pictures.
#pragma once
#include <chrono>

#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "tests/testing.h"

namespace acinus {

inline const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
inline const Grid small_grid{{8, 6, 5}, {1, 1, 2}, {-4, 10, 100}, flipped};
inline const char* const names = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";

inline void folder_of(const std::string& path) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
}

inline void add_scan(const Scratch& folder, const std::string& path, const Grid& grid = small_grid) {
  folder_of(folder / path);
  write_volume(folder / path, Volume<int16_t>(grid, -800));
}

// 4 x 3 pixels of `channels` times the same value.
inline void add_picture(const Scratch& folder, const std::string& path, uint8_t value = 7, int channels = 1) {
  folder_of(folder / path);
  write_png(folder / path, {4, 3, channels, std::vector<uint8_t>(size_t(12 * channels), value)});
}

// Gives the file a later time: a write within the clock's step might not.
inline void touch(const std::string& path) {
  namespace fs = std::filesystem;
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(2));
}

}  // namespace acinus
