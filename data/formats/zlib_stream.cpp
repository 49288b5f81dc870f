#include "data/formats/zlib_stream.h"

#include <zlib.h>

#include <algorithm>

#include "tensor/check.h"

namespace acinus {

namespace {

constexpr int64_t kPiece = 256 << 10;     // bytes of compressed data at a time
constexpr int64_t kMostAtOnce = 1 << 30;  // zlib counts what it is given in 32 bits

}  // namespace

struct Inflater::State {
  z_stream z{};
  std::vector<std::byte> input = std::vector<std::byte>(kPiece);
  int64_t made = 0;
  bool ended = false;

  State() {
    if (inflateInit2(&z, MAX_WBITS + 32 /* zlib or gzip */) != Z_OK) fail("zlib: not enough memory");
  }
  ~State() { inflateEnd(&z); }
};

Inflater::Inflater(const InputFile& file, int64_t begin, int64_t end, const std::string& where)
    : file_(file), at_(begin), end_(end), where_(where), state_(std::make_unique<State>()) {}

Inflater::~Inflater() = default;

int64_t Inflater::read(std::byte* to, int64_t bytes) {
  z_stream& z = state_->z;
  int64_t left = bytes;
  while (left > 0 && !state_->ended) {
    if (z.avail_in == 0 && at_ < end_) {
      z.next_in = reinterpret_cast<Bytef*>(state_->input.data()), z.avail_in = uInt(std::min(kPiece, end_ - at_));
      file_.read(at_, state_->input.data(), z.avail_in);
      at_ += z.avail_in;
    }
    const uInt room = uInt(std::min(left, kMostAtOnce));
    z.next_out = reinterpret_cast<Bytef*>(to), z.avail_out = room;
    const int status = inflate(&z, Z_NO_FLUSH);
    if (status == Z_BUF_ERROR) fail(where_, "the zlib stream ends early, after ", state_->made, " bytes of data");
    if (status != Z_OK && status != Z_STREAM_END)
      fail(where_, "the zlib stream is corrupt: ", z.msg ? z.msg : zError(status));
    const int64_t made = room - z.avail_out;
    to += made, left -= made, state_->made += made;
    if (status == Z_STREAM_END) state_->ended = !next_stream();
  }
  return bytes - left;
}

int64_t Inflater::skip(int64_t bytes) {
  std::vector<std::byte> dropped(size_t(std::min(bytes, kPiece)));
  int64_t left = bytes;
  for (int64_t got = 1; left > 0 && got > 0; left -= got) got = read(dropped.data(), std::min(left, kPiece));
  return bytes - left;
}

// Does another gzip stream begin where the last one ended?
bool Inflater::next_stream() {
  const int64_t next = at_ - state_->z.avail_in;
  unsigned char start[2];
  if (end_ - next < 2) return false;
  file_.read(next, start, 2);
  return start[0] == 0x1f && start[1] == 0x8b && inflateReset(&state_->z) == Z_OK;
}

void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, int level,
                   const std::function<void(const std::byte*, int64_t)>& sink) {
  z_stream z{};
  const int window = MAX_WBITS + (wrapper == Wrapper::gzip ? 16 : 0), memory = 8;  // memory: zlib's default
  if (const int status = deflateInit2(&z, level, Z_DEFLATED, window, memory, Z_DEFAULT_STRATEGY); status != Z_OK)
    fail("zlib: ", zError(status), " (level ", level, ")");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&z, deflateEnd);
  std::vector<std::byte> piece(kPiece);
  const auto pass = [&](const std::byte* from, int64_t bytes, int flush) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from)), z.avail_in = uInt(bytes);
    do {
      z.next_out = reinterpret_cast<Bytef*>(piece.data()), z.avail_out = uInt(kPiece);
      deflate(&z, flush);
      sink(piece.data(), kPiece - z.avail_out);
    } while (z.avail_out == 0);
  };
  for (const Bytes& part : parts)
    for (int64_t at = 0; at < part.size; at += kMostAtOnce)
      pass(static_cast<const std::byte*>(part.data) + at, std::min(kMostAtOnce, part.size - at), Z_NO_FLUSH);
  pass(nullptr, 0, Z_FINISH);
}

}  // namespace acinus
