// The bytes of a file from front to back, as they are stored or inflated, for the readers of images; and back again:
// compression as zlib (RFC 1950) and gzip (RFC 1952) streams.
//
//   const InputFile file("scan.nii.gz");
//   ByteSource bytes(file, 0, file.size(), ByteSource::deflated, "scan.nii.gz: ");
//   bytes.skip(352);
//   bytes.values(1 << 20, 2, false, [&](Bytes chunk) { ... });      a million little-endian shorts, chunk by chunk
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/volume/image.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/memory.h"

namespace acinus {

// Deflate's best is 258 bytes from 2 bits: a stream inflates to at most this many times its size.
constexpr int64_t kMaxInflation = 1032;

using ByteSink = std::function<void(Bytes chunk)>;

class ByteSource {
 public:
  // deflated: a zlib stream, or gzip streams one after the other; the first bytes tell which. Both are deflate (RFC 1951)
  // between a header and a checksum. Bytes after the stream are ignored.
  enum Encoding { stored, deflated };

  // Bytes [begin, end) of a file, which must outlive this. An Error about a damaged stream begins with `where`.
  ByteSource(const InputFile& file, int64_t begin, int64_t end, Encoding encoding, const std::string& where);
  ~ByteSource();

  int64_t max_size() const;  // no more bytes than this can come from the file
  // The next `bytes` bytes (below 4 GiB), or fewer at the end; returns how many. The checksum that ends a stream is
  // verified when a byte beyond it is requested.
  int64_t read(void* to, int64_t bytes);
  int64_t skip(int64_t bytes);
  // The next `count` values of `size` bytes, in this machine's byte order; returns how many bytes there were.
  int64_t values(int64_t count, int64_t size, bool big_endian, const ByteSink& sink);

 private:
  bool next_stream();

  const InputFile& file_;
  int64_t next_, end_;  // in the file
  std::string where_;
  struct Inflater;
  std::unique_ptr<Inflater> inflater_;  // null: the bytes are stored
};

// Converts `count` elements of `size` bytes from one byte order to the other.
void swap_bytes(void* data, int64_t count, int64_t size);

enum class Wrapper { zlib, gzip };  // gzip without a time stamp, so that equal input gives equal output
// Compresses the concatenation of `parts` into one stream, at zlib's level 1, as the noise of CT hardly compresses: a scan
// of 66 MB took 42.8 MB and 1.1 s at level 1, 41.9 MB and 4.0 s at 6. Blocks of 1 MB are shared out over the threads (the
// idea of Adler's pigz); the stream does not depend on their number.
void deflate_parts(const std::vector<Bytes>& parts, Wrapper wrapper, const ByteSink& sink);

// Reserves memory for `count` elements; throws an Error that names the file if there is not enough.
template <class T>
void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path) {
  try {
    to.reserve(count);
    memory::expect_large_pages(to.data(), count * int64_t(sizeof(T)));
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error
    fail(path, ": not enough memory for ", double(count) * sizeof(T) / (1 << 20), " MB");
  }
}

}  // namespace acinus
