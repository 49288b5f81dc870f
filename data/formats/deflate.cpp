#include "data/formats/deflate.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "tensor/check.h"

namespace acinus {

void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, int level,
                   const std::function<void(const std::byte*, int64_t)>& sink) {
  constexpr int64_t kMaxInput = 1 << 30;  // bytes at a time: zlib counts in 32 bits
  z_stream z{};
  const int window = MAX_WBITS + (wrapper == Wrapper::gzip ? 16 : 0), memory = 8;  // memory: zlib's default
  if (const int status = deflateInit2(&z, level, Z_DEFLATED, window, memory, Z_DEFAULT_STRATEGY); status != Z_OK)
    fail("zlib: ", zError(status), " (level ", level, ")");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&z, deflateEnd);
  std::vector<std::byte> chunk(256 << 10);
  const auto pass = [&](const std::byte* from, int64_t bytes, int flush) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from)), z.avail_in = uInt(bytes);
    do {
      z.next_out = reinterpret_cast<Bytef*>(chunk.data()), z.avail_out = uInt(chunk.size());
      deflate(&z, flush);
      sink(chunk.data(), int64_t(chunk.size()) - z.avail_out);
    } while (z.avail_out == 0);
  };
  for (const Bytes& part : parts)
    for (int64_t offset = 0; offset < part.size; offset += kMaxInput)
      pass(static_cast<const std::byte*>(part.data) + offset, std::min(kMaxInput, part.size - offset), Z_NO_FLUSH);
  pass(nullptr, 0, Z_FINISH);
}

}  // namespace acinus
