// Where the values of a MetaImage are, and how they come into memory: as stored, inflated, or parsed from text.
#include <algorithm>
#include <filesystem>

#include "data/formats/metaimage.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kChunk = 256 << 10;     // bytes parsed at a time
constexpr size_t kMaxNumberLength = 400;  // in text: 1e308 written out

InputFile open_data_file(const MetaHeader& header, const std::string& path) {
  try {
    return InputFile(path);
  } catch (const Error& error) {
    fail(header.path, ": ElementDataFile: ", error.what());
  }
}

// One data file, and its bytes [begin, end) that hold values. Refuses a file too short to hold them.
struct DataFile {
  const MetaHeader& header;
  InputFile file;
  int64_t begin, end;

  DataFile(const MetaHeader& header, const std::string& path) : header(header), file(open_data_file(header, path)) {
    std::error_code unreachable;
    if (header.local_start == 0 && std::filesystem::equivalent(path, header.path, unreachable))
      refuse("ElementDataFile", "names the header itself; for values in the same file it must be LOCAL");
    const int64_t value_bytes = header.bytes() / int64_t(header.files.size());
    const bool compressed = header.binary && header.compressed;
    // CompressedDataSize cannot be the size of each of several files.
    const bool stated = compressed && header.compressed_size > 0 && header.files.size() == 1;
    const bool size_is_known = stated || (header.binary && !compressed);
    const int64_t size = stated ? header.compressed_size : value_bytes;

    begin = header.header_size > 0 ? header.header_size : header.local_start;
    if (header.header_size == -1) {
      if (!size_is_known) refuse("HeaderSize = -1", "how many bytes to take from the end is not known");
      begin = std::max(header.local_start, file.size() - size);
    }
    if (begin < header.local_start) refuse(text("HeaderSize = ", begin), "the values would begin in the header");
    const int64_t available = std::max<int64_t>(0, file.size() - begin);
    if (size_is_known && size > available)
      refuse(stated ? "CompressedDataSize" : "DimSize", size, " bytes of data expected, ", available, " found");
    end = begin + (size_is_known ? size : available);
    // Text takes at least a digit per value.
    const int64_t min_size = compressed ? value_bytes / kMaxInflation : value_bytes / size_of(header.type);
    if (min_size > end - begin)
      refuse("DimSize", value_bytes, " bytes of values cannot come from ", end - begin, compressed ? " compressed" : "",
             " bytes");
  }

  [[noreturn]] void refuse(const std::string& key, const auto&... why) const {
    fail(header.path, ": ", key, ": ", why..., file.path() == header.path ? "" : " (" + file.path() + ")");
  }
};

// Passes on `count` values, after the first `skip` of the file, stored or inflated.
void pass_binary(const DataFile& from, int64_t skip, int64_t count, const ByteSink& sink) {
  const MetaHeader& header = from.header;
  const int64_t size = size_of(header.type);
  const std::string& path = from.file.path();
  const std::string where = text(header.path, ": CompressedData = True: ", path == header.path ? "" : path + ": ");
  ByteSource bytes(from.file, from.begin, from.end, header.compressed ? ByteSource::deflated : ByteSource::stored,
                   where);
  int64_t found = bytes.skip(skip * size);
  found += bytes.values(count, size, header.big_endian, sink);
  if (found < (skip + count) * size) fail(where, "the zlib stream holds only ", found, " bytes of data");
  std::byte after;
  const bool to_end = skip + count == header.values() / int64_t(header.files.size());
  if (to_end) bytes.read(&after, 1);  // verifies the checksum; bytes after the values are ignored
}

// The same of values in text, numbers of type T.
template <class T>
void pass_text(const DataFile& from, int64_t skip, int64_t count, const ByteSink& sink) {
  std::string token;
  const auto take = [&] {
    T value;
    if (token.empty() || count == 0) return;
    if (token.size() > kMaxNumberLength || !parse(token, value))
      from.refuse("BinaryData = False", "'", shown(token), "' is not a ", metaimage_name_of(from.header.type));
    token.clear();
    if (skip-- > 0) return;
    sink(std::as_bytes(std::span(&value, 1)));
    count--;
  };
  ByteSource bytes(from.file, from.begin, from.end, ByteSource::stored, "");
  std::string chunk(kChunk, '\0');
  for (int64_t n = 1; n > 0 && count > 0;) {
    n = bytes.read(chunk.data(), kChunk);
    for (const char c : std::string_view(chunk).substr(0, n)) {
      if (!is_blank(c)) token += c;
      if (is_blank(c) || token.size() > kMaxNumberLength) take();
    }
  }
  take();
  if (count > 0) from.refuse("DimSize", "the text ends ", count, " values early");
}

// Calls f(file, skip, n) for each data file that holds some of the values [first, first + count) of the image: n of
// them, after its first `skip`.
template <class F>
void for_each_file(const MetaHeader& header, int64_t first, int64_t count, F f) {
  const int64_t per_file = header.values() / int64_t(header.files.size());
  while (count > 0) {
    const int64_t skip = first % per_file, n = std::min(count, per_file - skip);
    f(DataFile(header, header.files[first / per_file]), skip, n);
    first += n, count -= n;
  }
}

}  // namespace

void read_values(const MetaHeader& header, int64_t first, int64_t count, const ByteSink& sink) {
  for_each_file(header, first, count, [](const DataFile&, int64_t, int64_t) {});  // refuses short files first
  for_each_file(header, first, count, [&](const DataFile& file, int64_t skip, int64_t n) {
    if (header.binary)
      pass_binary(file, skip, n, sink);
    else
      with_type(header.type, [&](auto t) { pass_text<decltype(t)>(file, skip, n, sink); });
  });
}

MetaImage read_slices(const MetaHeader& header, int64_t z0, int64_t z1) {
  const size_t n = header.dims.size();
  check(0 <= z0 && z0 < z1 && z1 <= header.dims[n - 1], "read_slices: [", z0, ", ", z1, ") is not within the ",
        header.dims[n - 1], " slices of ", header.path);
  MetaImage image{{header, {}}, header.extra};
  image.dims[n - 1] = z1 - z0;
  for (size_t i = 0; i < n; i++)
    image.origin[i] += double(z0) * header.spacing[n - 1] * header.direction[(n - 1) * n + i];
  const int64_t slice = header.values() / header.dims[n - 1];
  read_values(header, z0 * slice, (z1 - z0) * slice, [&](Bytes chunk) {
    if (image.data.empty()) reserve_memory(image.data, image.bytes(), header.path);  // the files are long enough
    image.data.insert(image.data.end(), chunk.begin(), chunk.end());
  });
  return image;
}

}  // namespace acinus
