// Pictures of 8 bits per channel, as .png files: overlays, and masks drawn elsewhere.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace acinus {

struct Picture {
  int width = 0, height = 0;
  int channels = 1;             // 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA
  std::vector<uint8_t> pixels;  // height rows of width pixels of `channels` values, top row first
};

void write_png(const std::string& path, const Picture& picture);
// The bytes of the file that write_png would write, to stand in a web page.
std::string encode_png(const Picture& picture);
// Palettes become RGB, fewer bits become 8; 16 bits are refused rather than cut down.
Picture read_png(const std::string& path);

}  // namespace acinus
