// Streams of zlib (RFC 1950) and gzip (RFC 1952): both are deflate (RFC 1951) with a checksum, behind another header.
// They pass through in pieces, so neither side needs the whole in memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/io/file.h"

namespace acinus {

// Deflate's best is 258 bytes from 2 bits: more than this times its size does not come out of a stream.
constexpr int64_t kMostInflated = 1032;

// Inflates the bytes [begin, end) of a file from the front; zlib or gzip, which shows from the first bytes. Several
// gzip streams in a row are one, as in gzip itself. Bytes after the stream are passed over.
class Inflater {
 public:
  // What goes wrong is an Error that begins with `where`. The file must live as long as this.
  Inflater(const InputFile& file, int64_t begin, int64_t end, const std::string& where);
  ~Inflater();
  // The next `bytes` bytes, or fewer if the stream ends before; returns how many. The checksum at the stream's end is
  // verified when a byte is asked for that is beyond it.
  int64_t read(std::byte* to, int64_t bytes);
  // Passes over bytes; returns how many there were.
  int64_t skip(int64_t bytes);

 private:
  bool next_stream();

  const InputFile& file_;
  int64_t at_, end_;  // of the file: the next byte to be read
  std::string where_;
  struct State;
  std::unique_ptr<State> state_;
};

enum class Wrapper { zlib, gzip };  // gzip without a time: the same bytes in give the same bytes out

// Deflates parts, one after the other, into one stream, whose pieces go to `sink`. level: 1 (quick) to 9 (small).
struct Bytes {
  const void* data;
  int64_t size;
};
void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, int level,
                   const std::function<void(const std::byte*, int64_t)>& sink);

}  // namespace acinus
