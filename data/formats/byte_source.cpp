#include "data/formats/byte_source.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace acinus {

namespace {

constexpr int64_t kChunk = 256 << 10;  // bytes at a time; a multiple of every value's size
constexpr size_t kMaxPart = 1 << 30;   // bytes for zlib at a time, which counts in 32 bits

}  // namespace

struct ByteSource::Inflater {
  z_stream z{};
  std::vector<std::byte> input = std::vector<std::byte>(kChunk);
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

int64_t ByteSource::skip(int64_t bytes) {
  if (inflater_) return values(bytes, 1, false, [](Bytes) {});
  bytes = std::min(bytes, end_ - next_);
  next_ += bytes;
  return bytes;
}

// Through a buffer that stays in the processor's cache. Its address matters too: large blocks of malloc begin 16 bytes
// into a page, and some processors copy to there half as fast as to a multiple of 64.
int64_t ByteSource::values(int64_t count, int64_t size, bool big_endian, const ByteSink& sink) {
  const std::shared_ptr<void> buffer = memory::allocate(kChunk);
  std::byte* const chunk = static_cast<std::byte*>(buffer.get());
  int64_t left = count * size;
  for (int64_t n = 1; left > 0 && n > 0; left -= n) {
    n = read(chunk, std::min(left, kChunk));
    if (big_endian != kNativeBigEndian) swap_bytes(chunk, n / size, size);
    sink({chunk, size_t(n)});
  }
  return count * size - left;
}

int64_t ByteSource::read(void* to, int64_t bytes) {
  if (!inflater_) {
    bytes = std::min(bytes, end_ - next_);
    file_.read(next_, to, bytes);
    next_ += bytes;
    return bytes;
  }
  z_stream& z = inflater_->z;
  z.next_out = static_cast<Bytef*>(to), z.avail_out = uInt(bytes);
  while (z.avail_out > 0 && !inflater_->ended) {
    if (z.avail_in == 0 && next_ < end_) {
      z.next_in = reinterpret_cast<Bytef*>(inflater_->input.data());
      z.avail_in = uInt(std::min(kChunk, end_ - next_));
      file_.read(next_, inflater_->input.data(), z.avail_in);
      next_ += z.avail_in;
    }
    const int status = inflate(&z, Z_NO_FLUSH);
    if (status == Z_BUF_ERROR) fail(where_, "the compressed stream ends early, after ", z.total_out, " bytes of data");
    if (status != Z_OK && status != Z_STREAM_END)
      fail(where_, "the compressed stream is corrupt: ", z.msg ? z.msg : zError(status));
    if (status == Z_STREAM_END) inflater_->ended = !next_stream();
  }
  return bytes - z.avail_out;
}

// Does another gzip stream begin where the last one ended?
bool ByteSource::next_stream() {
  const int64_t next = next_ - inflater_->z.avail_in;
  if (end_ - next < 2) return false;
  unsigned char start[2];
  file_.read(next, start, 2);
  return start[0] == 0x1f && start[1] == 0x8b && inflateReset(&inflater_->z) == Z_OK;
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

void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, const ByteSink& sink) {
  constexpr int level = 1, memory = 8;  // memory: zlib's default
  z_stream z{};
  const int window = MAX_WBITS + (wrapper == Wrapper::gzip ? 16 : 0);
  if (const int status = deflateInit2(&z, level, Z_DEFLATED, window, memory, Z_DEFAULT_STRATEGY); status != Z_OK)
    fail("zlib: ", zError(status));
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&z, deflateEnd);
  std::vector<std::byte> chunk(kChunk);
  const auto pass = [&](Bytes input, int flush) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data())), z.avail_in = uInt(input.size());
    do {
      z.next_out = reinterpret_cast<Bytef*>(chunk.data()), z.avail_out = uInt(kChunk);
      deflate(&z, flush);
      sink({chunk.data(), size_t(kChunk - z.avail_out)});
    } while (z.avail_out == 0);
  };
  for (Bytes part : parts)
    for (; !part.empty(); part = part.subspan(std::min(part.size(), kMaxPart)))
      pass(part.first(std::min(part.size(), kMaxPart)), Z_NO_FLUSH);
  pass({}, Z_FINISH);
}

}  // namespace acinus
