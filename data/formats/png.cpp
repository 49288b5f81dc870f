#include "data/formats/png.h"

#include <zlib.h>

#include <climits>
#include <cstdlib>
#include <memory>

// stb_image_write's own deflate takes about five times as long as zlib's.
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

#include "data/formats/byte_source.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// Each row is stored as its difference from the row above: mostly zeros in enlarged images. Trying all five of PNG's
// filters for every row, stb_image_write's default, took three times as long and gave larger files.
[[maybe_unused]] const int kFilter = stbi_write_force_png_filter = 2;

constexpr int64_t kFileLimit = 64 << 20;    // bytes
constexpr int64_t kPixelLimit = 256 << 20;  // bytes once decoded

// A .png is 8 bytes of signature and then chunks: length, four letters, that many bytes, checksum. stb_image allocates
// memory for a chunk without checking that the file is that long, so we check first. An IDAT of length 0, which is valid
// and means nothing, makes it copy from a null pointer; such chunks are removed.
void check_chunks(const std::string& path, std::string& file) {
  if (!file.starts_with("\x89PNG\r\n\x1a\n")) fail(path, ": not a PNG file: wrong signature");
  const auto byte = [&](size_t i) { return uint32_t(uint8_t(file[i])); };
  for (size_t offset = 8; offset < file.size();) {
    if (file.size() - offset < 12) fail(path, ": the file is truncated to ", file.size(), " bytes");
    const size_t length = byte(offset) << 24 | byte(offset + 1) << 16 | byte(offset + 2) << 8 | byte(offset + 3);
    const std::string name = file.substr(offset + 4, 4);
    if (length > file.size() - offset - 12)
      fail(path, ": chunk ", shown(name), " should have ", length, " bytes, but ", file.size() - offset - 12,
           " are left");
    if (name == "IEND") return;
    if (name == "IDAT" && length == 0)
      file.erase(offset, 12);
    else
      offset += 12 + length;
  }
}

}  // namespace

std::string encode_png(const Picture& picture) {
  const auto& [width, height, channels, pixels] = picture;
  check(width > 0 && height > 0 && channels >= 1 && channels <= 4, "png: ", width, "x", height, " with ", channels,
        " channels is not an image");
  const int64_t row = int64_t(width) * channels;
  check(int64_t(pixels.size()) == row * height, "png: ", width, "x", height, "x", channels, " values expected, not ",
        pixels.size());
  check((row + 1) * height <= kPixelLimit, "png: ", width, "x", height, " is too large");
  std::string file;
  const auto append = [](void* to, void* from, int bytes) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(from), bytes);
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
  const auto refuse = [&] { fail(path, ": cannot be decoded: ", stbi_failure_reason()); };
  if (!stbi_info_from_memory(bytes, length, &picture.width, &picture.height, &picture.channels)) refuse();
  if (stbi_is_16_bit_from_memory(bytes, length)) fail(path, ": has 16 bits per channel; only 8 are supported");
  // Deflate shrinks a row to 1/kMaxInflation of its length at best, and pixels of 1 bit become 8 or more.
  const int64_t pixels = int64_t(picture.width) * picture.height;
  if (pixels * picture.channels > kPixelLimit || pixels / 8 / kMaxInflation > length)
    fail(path, ": claims ", picture.width, "x", picture.height, " pixels, too many for its ", length, " bytes");
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(bytes, length, &picture.width, &picture.height, &picture.channels, 0), stbi_image_free);
  if (!decoded) refuse();
  picture.pixels.assign(decoded.get(), decoded.get() + pixels * picture.channels);
  return picture;
}

}  // namespace acinus
