#include "data/formats/metaimage.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <optional>

#include "data/formats/deflate.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeaderLimit = 1 << 20;  // bytes of key lines, and of file names after LIST
constexpr size_t kLineLimit = 10000;
constexpr bool kNativeBigEndian = std::endian::native == std::endian::big;

struct NamedType {
  const char* name;
  ElementType type;
};
// The first name of a type is the one written.
constexpr NamedType kTypes[] = {
    {"MET_CHAR", ElementType::i8},       {"MET_UCHAR", ElementType::u8},       {"MET_SHORT", ElementType::i16},
    {"MET_USHORT", ElementType::u16},    {"MET_INT", ElementType::i32},        {"MET_UINT", ElementType::u32},
    {"MET_LONG_LONG", ElementType::i64}, {"MET_ULONG_LONG", ElementType::u64}, {"MET_FLOAT", ElementType::f32},
    {"MET_DOUBLE", ElementType::f64},    {"MET_LONG", ElementType::i32},       {"MET_ULONG", ElementType::u32}};

// Keys whose values are stored in ImageInfo or MetaHeader, or follow from them. Synonyms form one list.
const std::vector<std::string> kOffset{"Offset", "Origin", "Position", "ElementOrigin", "ImagePosition"};
const std::vector<std::string> kMatrix{"TransformMatrix", "Rotation", "Orientation", "ElementDirection"};
const std::vector<std::string> kByteOrder{"BinaryDataByteOrderMSB", "ElementByteOrderMSB"};
const std::vector<std::string> kOthers{
    "ObjectType", "NDims",   "BinaryData",  "CompressedData",          "CompressedDataSize", "AnatomicalOrientation",
    "HeaderSize", "DimSize", "ElementType", "ElementNumberOfChannels", "ElementSpacing",     "ElementDataFile"};

bool is_known(const std::string& key) {
  for (const auto* keys : {&kOffset, &kMatrix, &kByteOrder, &kOthers})
    if (std::find(keys->begin(), keys->end(), key) != keys->end()) return true;
  return false;
}

constexpr ImageKeys kImageKeys{"NDims",  "ElementNumberOfChannels", "DimSize", "ElementSpacing",
                               "Offset", "TransformMatrix"};

// The centre of rotation does not move the image; LUNA16's files all have zeros there, and so do ours.
bool is_zero_centre(const std::pair<std::string, std::string>& line) {
  return line.first == "CenterOfRotation" &&
         std::ranges::all_of(words(line.second), [](auto word) { return word == "0"; });
}

// ---- the header ----

// The lines "Key = Value" up to ElementDataFile.
struct KeyValues {
  std::string path;
  std::vector<std::pair<std::string, std::string>> lines;
  int64_t end = 0;  // offset of the first byte after them

  [[noreturn]] void refuse(const std::string& key, const auto&... why) const {
    const std::string* value = find(key);
    fail(path, ": ", key, value ? " = " + shown(*value) : "", ": ", why...);
  }

  const std::string* find(const std::string& key) const {
    for (const auto& [k, value] : lines)
      if (k == key) return &value;
    return nullptr;
  }

  // The synonym that the header uses, if any. If it uses several, their values must agree.
  std::optional<std::string> used(const std::vector<std::string>& synonyms) const {
    std::optional<std::string> result;
    for (const std::string& key : synonyms)
      if (!result && find(key))
        result = key;
      else if (result && find(key) && words(*find(key)) != words(*find(*result)))
        refuse(key, "does not agree with ", *result, " = ", shown(*find(*result)));
    return result;
  }

  template <class T>
  std::vector<T> numbers(const std::string& key, size_t count) const {
    const std::string* value = find(key);
    if (!value) refuse(key, "is missing");
    std::vector<T> result;
    for (std::string_view word : words(*value))
      if (!parse(word, result.emplace_back()))
        refuse(key, "'", shown(word), "' is not ", std::is_integral_v<T> ? "a whole number" : "a number");
    if (result.size() != count) refuse(key, "holds ", result.size(), " numbers instead of ", count);
    return result;
  }

  int64_t integer(const std::string& key, int64_t otherwise) const {
    return find(key) ? numbers<int64_t>(key, 1)[0] : otherwise;
  }

  bool flag(const std::string& key, bool otherwise) const {
    const std::string* value = find(key);
    if (!value) return otherwise;
    if (*value == "True" || *value == "true" || *value == "T" || *value == "1") return true;
    if (*value == "False" || *value == "false" || *value == "F" || *value == "0") return false;
    refuse(key, "is neither True nor False");
  }
};

std::string read_text(const InputFile& file, int64_t begin) {
  std::string text(std::min(file.size() - begin, kHeaderLimit), '\0');
  file.read(begin, text.data(), int64_t(text.size()));
  return text;
}

KeyValues read_keys(const InputFile& file) {
  const std::string text = read_text(file, 0);
  KeyValues keys{file.path(), {}, 0};
  std::string_view rest = text;
  for (size_t number = 1; !rest.empty(); number++) {
    const std::string_view line = trimmed(next_line(rest));
    if (line.empty()) continue;
    if (number > kLineLimit) fail(file.path(), ": more than ", kLineLimit, " lines before ElementDataFile");
    const size_t equals = line.find('=');
    if (equals == line.npos || equals == 0)
      fail(file.path(), ": line ", number, " is '", shown(line), "', not 'Key = Value': not a MetaImage header");
    if (std::ranges::any_of(line, [](char c) { return (0 <= c && c < ' ' && c != '\t') || c == 127; }))
      fail(file.path(), ": line ", number, " is '", shown(line), "': a header must not contain control characters");
    const std::string key(trimmed(line.substr(0, equals))), value(trimmed(line.substr(equals + 1)));
    if (const std::string* earlier = keys.find(key); earlier && *earlier != value && is_known(key))
      keys.refuse(key, "is repeated in line ", number, " as ", shown(value));
    keys.lines.emplace_back(key, value);
    keys.end = int64_t(text.size() - rest.size());
    if (key == "ElementDataFile") return keys;
  }
  fail(file.path(), ": ElementDataFile: is missing; it must end the header");
}

bool exists(const std::string& path) {
  std::error_code unreachable;
  return fs::exists(path, unreachable);
}

// The path of a file named relative to the header's folder.
std::string sibling(const std::string& header, std::string_view name) {
  return (fs::path(header).parent_path() / name).string();
}

// The path of a data file. If it does not exist, it may exist in the form that other tools compress it to.
std::string locate(MetaHeader& header, std::string_view name) {
  if (std::ranges::any_of(name, [](char c) { return 0 <= c && c < ' '; }))
    fail(header.path, ": ElementDataFile: '", shown(name), "' is not a file name");
  const std::string path = sibling(header.path, name);
  if (!exists(path))
    for (const char* suffix : {".gz", ".Z"})
      if (exists(path + suffix)) {
        header.compressed = true, header.compressed_size = 0;
        return path + suffix;
      }
  return path;
}

// LIST, or LIST k: each file named below holds k dimensions.
void find_listed(MetaHeader& header, const KeyValues& keys, const InputFile& file, int64_t count) {
  const std::string text = read_text(file, keys.end);
  for (std::string_view rest = text; !rest.empty();)
    if (const std::string_view name = trimmed(next_line(rest)); !name.empty())
      header.files.push_back(locate(header, name));
  if (int64_t(header.files.size()) != count)
    keys.refuse("ElementDataFile", header.files.size(), " file names follow, but DimSize requires ", count);
}

// "slice%03d.raw 1 10 1": a name with one %d or %0nd, then first, last and step, by default 1, count, 1.
void find_numbered(MetaHeader& header, const KeyValues& keys, const std::vector<std::string_view>& parts) {
  const auto refuse = [&](const auto&... why) { keys.refuse("ElementDataFile", why...); };
  const int64_t count = header.dims.back();
  int64_t first = 1, last = 0, step = 1;
  if (parts.size() > 4) refuse("a pattern takes at most first, last and step");
  if (parts.size() > 1 && !parse(parts[1], first)) refuse("'", shown(parts[1]), "' is not a whole number");
  if (__builtin_add_overflow(first, count - 1, &last)) refuse("the last number is too large");
  if (parts.size() > 2 && !parse(parts[2], last)) refuse("'", shown(parts[2]), "' is not a whole number");
  if (parts.size() > 3 && !parse(parts[3], step)) refuse("'", shown(parts[3]), "' is not a whole number");
  if (step < 1) refuse("the step must be at least 1");
  if (first < 0 || last < first) refuse("the numbers must run upwards from 0 or more");
  if ((last - first) / step + 1 != count)
    refuse((last - first) / step + 1, " files are numbered, but DimSize requires ", count);

  const std::string_view pattern = parts[0];
  const size_t percent = pattern.find('%');
  const size_t letter = percent == pattern.npos ? percent : pattern.find_first_not_of("0123456789", percent + 1);
  if (letter == pattern.npos || pattern[letter] != 'd' || letter - percent > 3 ||
      pattern.find('%', letter) != pattern.npos)
    refuse("a pattern must contain one %d, or one like %03d");
  const char padding = pattern[percent + 1] == '0' ? '0' : ' ';
  size_t width = 0;
  parse(pattern.substr(percent + 1, letter - percent - 1), width);
  for (int64_t i = 0; i < count; i++) {
    std::string number = std::to_string(first + i * step);
    if (number.size() < width) number.insert(0, width - number.size(), padding);
    const std::string name = text(pattern.substr(0, percent), number, pattern.substr(letter + 1));
    header.files.push_back(locate(header, name));
    // Checked at once, so that the list never grows longer than there are files.
    if (!exists(header.files.back())) refuse(name, " does not exist");
  }
}

void find_files(MetaHeader& header, const KeyValues& keys, const InputFile& file) {
  const std::string& value = *keys.find("ElementDataFile");
  const size_t n = header.dims.size();
  if (value.empty()) keys.refuse("ElementDataFile", "names no file");
  if (value == "LOCAL" || value == "Local" || value == "local") {
    header.files = {header.path};
    header.local_start = keys.end;
    return;
  }
  const std::vector<std::string_view> parts = words(value);
  int64_t dims_per_file = int64_t(n) - 1;
  if (parts[0] == "LIST" && (parts.size() == 1 || (parts.size() == 2 && parse(parts[1], dims_per_file)))) {
    if (dims_per_file < 1 || dims_per_file > int64_t(n)) keys.refuse("ElementDataFile", "must be LIST 1 to LIST ", n);
    int64_t count = 1;
    for (size_t i = dims_per_file; i < n; i++) count *= header.dims[i];
    find_listed(header, keys, file, count);
  } else if (value.find('%') != value.npos && !exists(sibling(header.path, value))) {
    find_numbered(header, keys, parts);
  } else {
    header.files = {locate(header, value)};
  }
}

// ---- writing ----

std::string anatomical_orientation(const ImageInfo& info) {
  if (info.dims.size() != 3) return std::string(info.dims.size(), '?');
  Grid grid;
  for (size_t i = 0; i < 9; i++) grid.direction[i / 3][i % 3] = info.direction[i];
  return orientation(grid);
}

void write_all(const std::string& path, const ImageInfo& info, const MetaKeys& extra, const std::byte* data,
               const MetaWriteOptions& options) {
  check_image(info, path, kImageKeys);
  const fs::path name(path);
  const bool local = name.extension() == ".mha";
  if (!local && name.extension() != ".mhd") fail("cannot write ", path, ": the name must end in .mha or .mhd");
  const std::string data_name = local ? "LOCAL" : name.stem().string() + (options.compressed ? ".zraw" : ".raw");

  std::vector<std::byte> stream;
  if (options.compressed)  // into memory, because the header states its size
    deflate_parts({{data, info.bytes()}}, Wrapper::zlib, options.level,
                  [&](const std::byte* chunk, int64_t size) { stream.insert(stream.end(), chunk, chunk + size); });
  const std::byte* from = options.compressed ? stream.data() : data;
  const int64_t bytes = options.compressed ? int64_t(stream.size()) : info.bytes();

  std::string header;
  const auto put = [&](const std::string& key, const std::string& value) {
    if (value.find_first_of("\r\n") != value.npos || key.find_first_of("=\r\n") != key.npos || trimmed(key).empty())
      fail("cannot write ", path, ": '", shown(key), " = ", shown(value), "' does not fit into one header line");
    header += key + " = " + value + "\n";
  };
  const bool has_centre = std::ranges::any_of(extra, [](const auto& e) { return e.first == "CenterOfRotation"; });
  put("ObjectType", "Image");
  put("NDims", std::to_string(info.dims.size()));
  put("BinaryData", "True");
  put("BinaryDataByteOrderMSB", kNativeBigEndian ? "True" : "False");
  put("CompressedData", options.compressed ? "True" : "False");
  if (options.compressed) put("CompressedDataSize", std::to_string(bytes));
  put("TransformMatrix", joined(info.direction));
  put("Offset", joined(info.origin));
  if (!has_centre) put("CenterOfRotation", joined(std::vector<double>(info.dims.size(), 0.0)));
  put("AnatomicalOrientation", anatomical_orientation(info));
  put("ElementSpacing", joined(info.spacing));
  put("DimSize", joined({info.dims.begin(), info.dims.end()}));
  if (info.channels > 1) put("ElementNumberOfChannels", std::to_string(info.channels));
  put("ElementType", metaimage_name_of(info.type));
  for (const auto& [key, value] : extra) {
    if (is_known(key)) fail("cannot write ", path, ": ", key, " cannot be an extra key: it follows from the image");
    put(key, value);
  }
  put("ElementDataFile", data_name);

  AtomicFile file(path);
  file.write(header);
  if (local) {
    file.write(from, bytes);
  } else {
    AtomicFile data_file(sibling(path, data_name));
    data_file.write(from, bytes);
    data_file.commit();
  }
  file.commit();
}

}  // namespace

const char* metaimage_name_of(ElementType type) { return std::ranges::find(kTypes, type, &NamedType::type)->name; }

MetaHeader read_metaimage_header(const std::string& path) {
  const InputFile file(path);
  const KeyValues keys = read_keys(file);
  MetaHeader header;
  header.path = path;

  if (const std::string* kind = keys.find("ObjectType"); kind && *kind != "Image")
    keys.refuse("ObjectType", "only an Image can be read");
  const int64_t n = keys.numbers<int64_t>("NDims", 1)[0];
  if (n < 1 || n > 10) keys.refuse("NDims", "must be 1 to 10");
  header.dims = keys.numbers<int64_t>("DimSize", n);
  const std::string* name = keys.find("ElementType");
  if (!name) keys.refuse("ElementType", "is missing");
  const auto type = std::ranges::find_if(kTypes, [&](const NamedType& t) {
    return *name == t.name || *name == std::string(t.name) + "_ARRAY";  // the same, for several channels
  });
  if (type == std::end(kTypes)) keys.refuse("ElementType", "is not a number type such as MET_SHORT");
  header.type = type->type;
  const int64_t channels = keys.integer("ElementNumberOfChannels", 1);
  if (channels < 1 || channels > INT32_MAX) keys.refuse("ElementNumberOfChannels", "must be at least 1");
  header.channels = int(channels);

  const char* spacing = keys.find("ElementSpacing") ? "ElementSpacing" : "ElementSize";
  header.spacing.assign(n, 1.0);
  if (keys.find(spacing)) header.spacing = keys.numbers<double>(spacing, n);
  header.origin.assign(n, 0.0);
  if (const auto key = keys.used(kOffset)) header.origin = keys.numbers<double>(*key, n);
  header.direction.assign(n * n, 0.0);
  for (int64_t i = 0; i < n; i++) header.direction[i * n + i] = 1;
  if (const auto key = keys.used(kMatrix)) header.direction = keys.numbers<double>(*key, n * n);
  check_image(header, path, kImageKeys);

  header.binary = keys.flag("BinaryData", true);
  if (const auto key = keys.used(kByteOrder)) header.big_endian = keys.flag(*key, false);
  header.compressed = keys.flag("CompressedData", false);
  header.compressed_size = keys.integer("CompressedDataSize", 0);
  if (header.compressed_size < 0) keys.refuse("CompressedDataSize", "must not be negative");
  header.header_size = keys.integer("HeaderSize", 0);
  if (header.header_size < -1) keys.refuse("HeaderSize", "must be -1 or more");
  for (const auto& line : keys.lines)
    if (!is_known(line.first) && !is_zero_centre(line)) header.extra.push_back(line);
  find_files(header, keys, file);
  return header;
}

MetaImage read_metaimage(const std::string& path) {
  const MetaHeader header = read_metaimage_header(path);
  return read_slices(header, 0, header.dims.back());
}

void write_metaimage(const std::string& path, const MetaImage& image, const MetaWriteOptions& options) {
  check_image(image, path, kImageKeys);
  write_all(path, image, image.extra, image.data.data(), options);
}

void write_metaimage(const std::string& path, const ImageInfo& info, const std::byte* data,
                     const MetaWriteOptions& options) {
  write_all(path, info, {}, data, options);
}

}  // namespace acinus
