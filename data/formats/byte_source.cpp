#include "data/formats/byte_source.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "tensor/check.h"
#include "tensor/memory.h"

namespace acinus {

namespace {

constexpr int64_t kChunk = 256 << 10;    // bytes read at a time
constexpr int64_t kMaxOutput = 1 << 30;  // bytes inflated at a time: zlib counts in 32 bits

}  // namespace

struct ByteSource::Inflater {
  z_stream z{};
  std::vector<std::byte> input = std::vector<std::byte>(kChunk);
  int64_t produced = 0;
  bool ended = false;

  Inflater() {
    if (inflateInit2(&z, MAX_WBITS + 32 /* zlib or gzip */) != Z_OK) fail("zlib: not enough memory");
  }
  ~Inflater() { inflateEnd(&z); }
};

ByteSource::ByteSource(const InputFile& file, int64_t begin, int64_t end, Encoding encoding, const std::string& where)
    : file_(file), next_(begin), end_(end), where_(where) {
  if (encoding == deflated) inflater_ = std::make_unique<Inflater>();
}

ByteSource::~ByteSource() = default;

int64_t ByteSource::max_size() const {
  const int64_t size = end_ - next_;
  return inflater_ ? std::min(size, INT64_MAX / kMaxInflation) * kMaxInflation : size;
}

int64_t ByteSource::read(void* to, int64_t bytes) {
  if (inflater_) return inflate(static_cast<std::byte*>(to), bytes);
  bytes = std::min(bytes, end_ - next_);
  file_.read(next_, to, bytes);
  next_ += bytes;
  return bytes;
}

int64_t ByteSource::skip(int64_t bytes) {
  if (!inflater_) {
    bytes = std::min(bytes, end_ - next_);
    next_ += bytes;
    return bytes;
  }
  std::vector<std::byte> skipped(std::min(bytes, kChunk));
  int64_t left = bytes;
  for (int64_t n = 1; left > 0 && n > 0; left -= n) n = inflate(skipped.data(), std::min(left, kChunk));
  return bytes - left;
}

template <class T>
int64_t ByteSource::append(std::vector<T>& to, int64_t bytes) {
  const size_t before = to.size();
  if (inflater_) {  // zlib is fastest with all of the output at once
    to.resize(before + bytes / sizeof(T));
    return read(to.data() + before, bytes);
  }
  // Through a buffer that stays in the processor's cache: to.resize() would first fill all of the fresh memory with
  // zeros. The buffer's address matters too: large blocks of malloc begin 16 bytes into a page, and some processors copy
  // to there half as fast as to a multiple of 64.
  const std::shared_ptr<void> buffer = memory::allocate(kChunk);
  const T* values = static_cast<const T*>(buffer.get());
  int64_t left = bytes;
  for (int64_t n = 1; left > 0 && n > 0; left -= n) {
    n = read(buffer.get(), std::min(left, kChunk));
    to.insert(to.end(), values, values + n / int64_t(sizeof(T)));
  }
  return bytes - left;
}

int64_t ByteSource::inflate(std::byte* to, int64_t bytes) {
  z_stream& z = inflater_->z;
  int64_t left = bytes;
  while (left > 0 && !inflater_->ended) {
    if (z.avail_in == 0 && next_ < end_) {
      z.next_in = reinterpret_cast<Bytef*>(inflater_->input.data());
      z.avail_in = uInt(std::min(kChunk, end_ - next_));
      file_.read(next_, inflater_->input.data(), z.avail_in);
      next_ += z.avail_in;
    }
    const uInt room = uInt(std::min(left, kMaxOutput));
    z.next_out = reinterpret_cast<Bytef*>(to), z.avail_out = room;
    const int status = ::inflate(&z, Z_NO_FLUSH);
    if (status == Z_BUF_ERROR)
      fail(where_, "the zlib stream ends early, after ", inflater_->produced, " bytes of data");
    if (status != Z_OK && status != Z_STREAM_END)
      fail(where_, "the zlib stream is corrupt: ", z.msg ? z.msg : zError(status));
    const int64_t n = room - z.avail_out;
    to += n, left -= n, inflater_->produced += n;
    if (status == Z_STREAM_END) inflater_->ended = !next_stream();
  }
  return bytes - left;
}

// Does another gzip stream begin where the last one ended?
bool ByteSource::next_stream() {
  const int64_t next = next_ - inflater_->z.avail_in;
  if (end_ - next < 2) return false;
  unsigned char start[2];
  file_.read(next, start, 2);
  return start[0] == 0x1f && start[1] == 0x8b && inflateReset(&inflater_->z) == Z_OK;
}

template <class T>
void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path) {
  try {
    to.clear();
    to.reserve(size_t(count));
    memory::expect_large_pages(to.data(), count * int64_t(sizeof(T)));
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error
    fail(path, ": not enough memory for ", double(count) * sizeof(T) / (1 << 20), " MB");
  }
}

void swap_bytes(void* data, int64_t count, int64_t size) {
  std::byte* first = static_cast<std::byte*>(data);
  const auto swap_each = [&](auto value, auto swapped) {
    for (std::byte* end = first + count * size; first < end; first += size) {
      std::memcpy(&value, first, sizeof value);
      value = swapped(value);
      std::memcpy(first, &value, sizeof value);
    }
  };
  if (size == 2) swap_each(uint16_t(), [](uint16_t x) { return __builtin_bswap16(x); });
  if (size == 4) swap_each(uint32_t(), [](uint32_t x) { return __builtin_bswap32(x); });
  if (size == 8) swap_each(uint64_t(), [](uint64_t x) { return __builtin_bswap64(x); });
}

#define ACINUS_BYTE_SOURCE(T)                                         \
  template int64_t ByteSource::append(std::vector<T>& to, int64_t n); \
  template void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path);
ACINUS_BYTE_SOURCE(std::byte)
ACINUS_BYTE_SOURCE(int16_t)
ACINUS_BYTE_SOURCE(uint8_t)
ACINUS_BYTE_SOURCE(float)
#undef ACINUS_BYTE_SOURCE

}  // namespace acinus
