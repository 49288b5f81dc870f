// Compression as zlib (RFC 1950) and gzip (RFC 1952) streams; data/formats/byte_source.h inflates both.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace acinus {

enum class Wrapper { zlib, gzip };  // gzip without a time stamp, so that equal input gives equal output

struct Bytes {
  const void* data;
  int64_t size;
};

// Compresses the concatenation of `parts` into one stream, passed on to `sink` chunk by chunk. level: 1 (fast) to
// 9 (small).
void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, int level,
                   const std::function<void(const std::byte*, int64_t)>& sink);

}  // namespace acinus
