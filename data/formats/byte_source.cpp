#include "data/formats/byte_source.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "tensor/parallel.h"

namespace acinus {

namespace {

constexpr int64_t kChunk = 256 << 10;  // bytes at a time; a multiple of every value's size

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

// ---- compressing ----------------------------------------------------------------------------------------------

// A part of the input, compressed by itself, and its checksum.
struct Block {
  std::vector<std::byte> stream;
  uLong checksum;
};

// All but the last block end with an empty stored block, on a whole byte, so that they can be put one behind the other.
static Block deflate_block(Bytes input, bool last, Wrapper wrapper) {
  constexpr int level = 1, memory = 8;  // memory: zlib's default
  z_stream z{};
  if (const int status = deflateInit2(&z, level, Z_DEFLATED, -MAX_WBITS, memory, Z_DEFAULT_STRATEGY); status != Z_OK)
    fail("zlib: ", zError(status));
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&z, deflateEnd);
  auto* const bytes = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
  Block block{std::vector<std::byte>(deflateBound(&z, uLong(input.size())) + 16), 0};
  z.next_in = bytes, z.avail_in = uInt(input.size());
  z.next_out = reinterpret_cast<Bytef*>(block.stream.data()), z.avail_out = uInt(block.stream.size());
  deflate(&z, last ? Z_FINISH : Z_SYNC_FLUSH);
  check(z.avail_in == 0 && z.avail_out > 0, "zlib: ", input.size(), " bytes did not fit into deflateBound's");
  block.stream.resize(block.stream.size() - z.avail_out);
  block.checksum =
      wrapper == Wrapper::gzip ? crc32(0, bytes, uInt(input.size())) : adler32(1, bytes, uInt(input.size()));
  return block;
}

void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, const ByteSink& sink) {
  constexpr size_t kBlock = 1 << 20, kAtOnce = 32;  // 32 MB at once in memory
  const bool gzip = wrapper == Wrapper::gzip;
  std::vector<Bytes> inputs;
  for (Bytes part : parts)
    for (; !part.empty(); part = part.subspan(inputs.back().size()))
      inputs.push_back(part.first(std::min(part.size(), kBlock)));
  if (inputs.empty()) inputs.emplace_back();

  const auto put = [&](std::initializer_list<int> bytes) {
    std::vector<std::byte> out;
    for (int byte : bytes) out.push_back(std::byte(byte));
    sink(out);
  };
  gzip ? put({0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 4, 3}) : put({0x78, 0x01});  // "fastest", in both
  uLong checksum = gzip ? 0 : 1, length = 0;
  for (size_t first = 0; first < inputs.size(); first += kAtOnce) {
    std::vector<Block> blocks(std::min(kAtOnce, inputs.size() - first));
    parallel(int64_t(blocks.size()), /*pays=*/true,
             [&](int64_t i) { blocks[i] = deflate_block(inputs[first + i], first + i + 1 == inputs.size(), wrapper); });
    for (size_t i = 0; i < blocks.size(); i++) {
      const auto size = z_off_t(inputs[first + i].size());
      checksum = (gzip ? crc32_combine : adler32_combine)(checksum, blocks[i].checksum, size);
      length += uLong(size);
      sink(blocks[i].stream);
    }
  }
  const auto byte = [](uLong value, int i) { return int(value >> 8 * i & 0xff); };
  if (!gzip) return put({byte(checksum, 3), byte(checksum, 2), byte(checksum, 1), byte(checksum, 0)});
  for (uLong value : {checksum, length}) put({byte(value, 0), byte(value, 1), byte(value, 2), byte(value, 3)});
}

}  // namespace acinus
