// The files a MetaImage header of the corpus may name, and their contents: enough values for 2 x 3 x 2 numbers of 16
// bits in one file, or in two or three.
#pragma once
#include <zlib.h>

#include <string>
#include <utility>
#include <vector>

namespace acinus {

inline std::string deflated(const std::string& bytes) {
  std::string stream(compressBound(bytes.size()), '\0');
  uLongf size = stream.size();
  compress(reinterpret_cast<Bytef*>(stream.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  stream.resize(size);
  return stream;
}

inline std::vector<std::pair<std::string, std::string>> metaimage_data_files() {
  const std::string values = "some 24 bytes of values.", part = values.substr(0, 12);
  return {{"a.raw", values}, {"a1.raw", part}, {"a2.raw", part}, {"a3.raw", part}, {"a.zraw", deflated(values)}};
}

}  // namespace acinus
