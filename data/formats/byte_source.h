// The bytes of a file from front to back, as they are stored or inflated, for the readers of images.
//
//   const InputFile file("scan.nii.gz");
//   ByteSource bytes(file, 0, file.size(), ByteSource::deflated, "scan.nii.gz: ");
//   bytes.skip(352);
//   bytes.append(voxels, 1 << 20);      1 MiB of them
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/io/file.h"

namespace acinus {

// Deflate's best is 258 bytes from 2 bits: a stream inflates to at most this many times its size.
constexpr int64_t kMaxInflation = 1032;

class ByteSource {
 public:
  // deflated: a zlib stream (RFC 1950), or gzip streams one after the other (RFC 1952); the first bytes tell which.
  // Both are deflate (RFC 1951) between a header and a checksum. Bytes after the stream are ignored.
  enum Encoding { stored, deflated };

  // Bytes [begin, end) of a file, which must outlive this. An Error about a damaged stream begins with `where`.
  ByteSource(const InputFile& file, int64_t begin, int64_t end, Encoding encoding, const std::string& where);
  ~ByteSource();

  int64_t max_size() const;  // no more bytes than this can come from the file
  // The next `bytes` bytes, or fewer at the end; returns how many. The checksum that ends a stream is verified when
  // a byte beyond it is requested.
  int64_t read(void* to, int64_t bytes);
  int64_t skip(int64_t bytes);
  // The same, to the end of a vector, for which memory should be reserved. T is std::byte, int16_t, uint8_t or float.
  template <class T>
  int64_t append(std::vector<T>& to, int64_t bytes);

 private:
  int64_t inflate(std::byte* to, int64_t bytes);
  bool next_stream();

  const InputFile& file_;
  int64_t next_, end_;  // in the file
  std::string where_;
  struct Inflater;
  std::unique_ptr<Inflater> inflater_;  // null: the bytes are stored
};

// Empties `to` and reserves memory for `count` elements; throws an Error that names the file if there is not enough.
template <class T>
void reserve_memory(std::vector<T>& to, int64_t count, const std::string& path);

// Converts `count` elements of `size` bytes from one byte order to the other.
void swap_bytes(void* data, int64_t count, int64_t size);

}  // namespace acinus
