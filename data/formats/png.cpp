#include "data/formats/png.h"

#include <zlib.h>

#include <climits>
#include <cstdlib>
#include <memory>

// stb_image_write has a deflate of its own, which takes some five times as long as zlib's.
static unsigned char* compressed(unsigned char* data, int bytes, int* out_bytes, int /*quality*/) {
  uLongf size = compressBound(uLong(bytes));
  auto* out = static_cast<unsigned char*>(std::malloc(size));  // stb_image_write frees it
  if (!out || compress2(out, &size, data, uLong(bytes), 3) != Z_OK) return std::free(out), nullptr;
  *out_bytes = int(size);
  return out;
}
#define STBIW_ZLIB_COMPRESS compressed

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Each row is stored as its difference to the one above: in enlarged pictures mostly zeros. To try all five of PNG's
// filters for every row, as stb_image_write otherwise does, took three times as long, and the files were larger.
[[maybe_unused]] const int kFilter = stbi_write_force_png_filter = 2;

constexpr int64_t kFileLimit = 64 << 20;    // bytes
constexpr int64_t kPixelLimit = 256 << 20;  // bytes once decoded

// A .png is 8 bytes and then chunks: length, four letters, that many bytes, checksum. stb_image takes memory for a
// chunk before it looks whether the file is that long; so we look first. And an IDAT of length 0, which is allowed and
// means nothing, makes it copy from a null pointer; such chunks are taken out.
void check_chunks(const std::string& path, std::string& file) {
  if (!file.starts_with("\x89PNG\r\n\x1a\n")) fail(path, ": is no .png that can be read: it begins otherwise");
  const auto byte = [&](size_t i) { return uint32_t(uint8_t(file[i])); };
  for (size_t at = 8; at < file.size();) {
    if (file.size() - at < 12) fail(path, ": the file is cut off, after ", file.size(), " bytes");
    const size_t length = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    const std::string name = file.substr(at + 4, 4);
    if (length > file.size() - at - 12)
      fail(path, ": its chunk ", shown(name), " should have ", length, " bytes, ", file.size() - at - 12, " are left");
    if (name == "IEND") return;
    if (name == "IDAT" && length == 0)
      file.erase(at, 12);
    else
      at += 12 + length;
  }
}

}  // namespace

std::string encode_png(const Picture& picture) {
  const auto& [width, height, channels, pixels] = picture;
  check(width > 0 && height > 0 && channels >= 1 && channels <= 4, "png: ", width, "x", height, " with ", channels,
        " channels is no picture");
  const int64_t row = int64_t(width) * channels;
  check(int64_t(pixels.size()) == row * height, "png: ", width, "x", height, "x", channels,
        " pixels wanted, there are ", pixels.size());
  check((row + 1) * height <= kPixelLimit, "png: ", width, "x", height, " is too large");
  std::string file;
  const auto append = [](void* to, void* from, int bytes) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(from), size_t(bytes));
  };
  if (!stbi_write_png_to_func(append, &file, width, height, channels, pixels.data(), int(row)))
    fail("png: not enough memory to encode ", width, "x", height);
  return file;
}

void write_png(const std::string& path, const Picture& picture) { write_file(path, encode_png(picture)); }

Picture read_png(const std::string& path) {
  std::string file = read_file(path, kFileLimit);
  check_chunks(path, file);
  const auto* bytes = reinterpret_cast<const stbi_uc*>(file.data());
  const int length = int(file.size());
  Picture picture;
  const auto refuse = [&] { fail(path, ": is no .png that can be read: ", stbi_failure_reason()); };
  if (!stbi_info_from_memory(bytes, length, &picture.width, &picture.height, &picture.channels)) refuse();
  if (stbi_is_16_bit_from_memory(bytes, length)) fail(path, ": has 16 bits per channel; only 8 can be read");
  // A row of deflated pixels takes at least 1/1032 of its length; pixels of 1 bit become 8 or more.
  const int64_t pixels = int64_t(picture.width) * picture.height;
  if (pixels * picture.channels > kPixelLimit || pixels / 8 / 1032 > length)
    fail(path, ": claims ", picture.width, "x", picture.height, " pixels, too many for its ", length, " bytes");
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(bytes, length, &picture.width, &picture.height, &picture.channels, 0), stbi_image_free);
  if (!decoded) refuse();
  picture.pixels.assign(decoded.get(), decoded.get() + pixels * picture.channels);
  return picture;
}

}  // namespace acinus
