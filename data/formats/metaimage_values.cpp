// Where the values of a MetaImage are, and how they come into memory: read as they stand, inflated, or parsed.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>

#include "data/formats/metaimage.h"
#include "data/formats/zlib_stream.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/memory.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kPiece = 256 << 10;   // bytes read or parsed at a time
constexpr size_t kLongestNumber = 400;  // in text: 1e308 written out

InputFile open_data_file(const MetaHeader& header, const std::string& path) {
  try {
    return InputFile(path);
  } catch (const Error& error) {
    fail(header.path, ": ElementDataFile: ", error.what());
  }
}

// One data file, opened, and its bytes [begin, end) that are the values. Refuses a file that cannot hold them.
struct Source {
  const MetaHeader& header;
  InputFile file;
  int64_t begin, end;

  Source(const MetaHeader& header, const std::string& path) : header(header), file(open_data_file(header, path)) {
    std::error_code unreachable;
    if (header.local_start == 0 && std::filesystem::equivalent(path, header.path, unreachable))
      refuse("ElementDataFile", "names the header itself; values in the same file are LOCAL");
    const int64_t share = header.bytes() / int64_t(header.files.size());
    const bool compressed = header.binary && header.compressed;
    // With several files, CompressedDataSize cannot be the size of each.
    const bool stated = compressed && header.compressed_size > 0 && header.files.size() == 1;
    const int64_t size = stated ? header.compressed_size : share;
    const bool size_is_known = stated || (header.binary && !compressed);

    begin = header.header_size > 0 ? header.header_size : header.local_start;
    if (header.header_size == -1) {
      if (!size_is_known) refuse("HeaderSize = -1", "how many bytes to take from the end is not known");
      begin = std::max(header.local_start, file.size() - size);
    }
    if (begin < header.local_start) refuse(text("HeaderSize = ", begin), "the values would begin in the header");
    const int64_t there = std::max<int64_t>(0, file.size() - begin);
    if (size_is_known && size > there)
      refuse(stated ? "CompressedDataSize" : "DimSize", size, " bytes of data are wanted, ", there, " are there");
    end = size_is_known ? begin + size : begin + there;
    // Text takes at least a digit per value.
    const int64_t least = compressed ? share / kMostInflated : share / size_of(header.type);
    if (least > end - begin)
      refuse("DimSize", share, " bytes of values cannot come from ", end - begin, compressed ? " compressed" : "",
             " bytes");
  }

  [[noreturn]] void refuse(const std::string& key, const auto&... why) const {
    fail(header.path, ": ", key, ": ", why..., file.path() == header.path ? "" : " (" + file.path() + ")");
  }
};

// Inflates `bytes` bytes into `to`, after dropping the first `skip`. With `to_end` the stream's checksum is verified
// too: then these are the last bytes of the values.
void inflate_values(const Source& source, int64_t skip, int64_t bytes, std::byte* to, bool to_end) {
  const std::string& path = source.header.path;
  const std::string data_file = source.file.path() == path ? "" : source.file.path() + ": ";
  const std::string where = text(path, ": CompressedData = True: ", data_file);
  Inflater inflater(source.file, source.begin, source.end, where);
  int64_t made = inflater.skip(skip);
  made += inflater.read(to, bytes);
  if (made < skip + bytes) fail(where, "the zlib stream holds only ", made, " bytes of data");
  std::byte more;  // as with uncompressed files, bytes after the values are ignored
  if (to_end) inflater.read(&more, 1);
}

// Reads `bytes` bytes that stand as they are, after the first `skip`, through a buffer that stays in the processor's
// cache: to.resize() would fill all of the fresh memory with zeros first. The buffer's address counts too: large blocks
// of malloc begin 16 bytes into a page, and to there some processors copy half as fast as to a multiple of 64.
template <class T>
void append_values(const Source& source, int64_t skip, int64_t bytes, std::vector<T>& to) {
  const std::shared_ptr<void> buffer = memory::allocate(kPiece);
  const T* values = static_cast<const T*>(buffer.get());
  for (int64_t at = source.begin + skip, end = at + bytes; at < end; at += kPiece) {
    const int64_t piece = std::min(kPiece, end - at);
    source.file.read(at, buffer.get(), piece);
    to.insert(to.end(), values, values + size_t(piece) / sizeof(T));
  }
}

// Reads numbers in text: `count` of them, after the first `skip`.
template <class T>
void parse_values(const Source& source, int64_t skip, int64_t count, std::byte* to) {
  std::string token, piece;
  const auto take = [&] {
    T value;
    if (token.empty() || count == 0) return;
    if (token.size() > kLongestNumber || !parse(token, value))
      source.refuse("BinaryData = False", "'", shown(token), "' is no ", metaimage_name_of(source.header.type));
    token.clear();
    if (skip-- > 0) return;
    std::memcpy(to, &value, sizeof value);
    to += sizeof value, count--;
  };
  for (int64_t at = source.begin; at < source.end && count > 0; at += kPiece) {
    piece.resize(size_t(std::min(kPiece, source.end - at)));
    source.file.read(at, piece.data(), int64_t(piece.size()));
    for (char c : piece) {
      if (!is_blank(c)) token += c;
      if (is_blank(c) || token.size() > kLongestNumber) take();
    }
  }
  take();
  if (count > 0) source.refuse("DimSize", "the text ends ", count, " values early");
}

// Calls f(i, skip, n): of data file i, skip values and then take n, for values [first, first + count) of the image.
template <class F>
void for_each_part(const MetaHeader& header, int64_t first, int64_t count, F f) {
  const int64_t share = header.values() / int64_t(header.files.size());
  while (count > 0) {
    const int64_t skip = first % share, n = std::min(count, share - skip);
    f(size_t(first / share), skip, n);
    first += n, count -= n;
  }
}

}  // namespace

template <class T>
void read_values(const MetaHeader& header, int64_t first, int64_t count, std::vector<T>& to) {
  const int64_t size = size_of(header.type), share = header.values() / int64_t(header.files.size());
  for_each_part(header, first, count, [&](size_t i, int64_t, int64_t) { Source(header, header.files[i]); });
  reserve_memory(to, count * size / int64_t(sizeof(T)), header.path);
  for_each_part(header, first, count, [&](size_t i, int64_t skip, int64_t n) {
    const Source source(header, header.files[i]);
    const size_t before = to.size();
    if (header.binary && !header.compressed) {
      append_values(source, skip * size, n * size, to);
    } else {
      to.resize(before + size_t(n * size) / sizeof(T));
      std::byte* data = reinterpret_cast<std::byte*>(to.data() + before);
      if (header.binary)
        inflate_values(source, skip * size, n * size, data, skip + n == share);
      else
        with_type(header.type, [&](auto t) { parse_values<decltype(t)>(source, skip, n, data); });
    }
    if (header.binary && header.big_endian != (std::endian::native == std::endian::big))
      reverse_bytes(reinterpret_cast<std::byte*>(to.data() + before), n, size);
  });
}

template void read_values(const MetaHeader&, int64_t, int64_t, std::vector<std::byte>&);
template void read_values(const MetaHeader&, int64_t, int64_t, std::vector<int16_t>&);
template void read_values(const MetaHeader&, int64_t, int64_t, std::vector<uint8_t>&);
template void read_values(const MetaHeader&, int64_t, int64_t, std::vector<float>&);

MetaImage read_slices(const MetaHeader& header, int64_t z0, int64_t z1) {
  const size_t n = header.dims.size();
  check(0 <= z0 && z0 < z1 && z1 <= header.dims[n - 1], "read_slices: [", z0, ", ", z1, ") is not within the ",
        header.dims[n - 1], " slices of ", header.path);
  MetaImage image{{header, {}}, header.extra};
  image.dims[n - 1] = z1 - z0;
  for (size_t i = 0; i < n; i++)
    image.origin[i] += double(z0) * header.spacing[n - 1] * header.direction[(n - 1) * n + i];
  const int64_t slice = header.values() / header.dims[n - 1];
  read_values(header, z0 * slice, (z1 - z0) * slice, image.data);
  return image;
}

}  // namespace acinus
