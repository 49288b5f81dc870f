// .png files with 8 bits per channel: overlays, and images and masks drawn with other tools.
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
// The content of the file that write_png would write, for embedding in a web page.
std::string encode_png(const Picture& picture);
// Palettes become RGB, and fewer than 8 bits become 8; 16 bits are refused rather than truncated.
Picture read_png(const std::string& path);

}  // namespace acinus
