#include "data/formats/metaimage.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeaderLimit = 1 << 20;  // bytes of key lines, and of file names after LIST
constexpr size_t kLineLimit = 10000;

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

// Keys whose values are stored in ImageInfo or MetaHeader, or follow from them. Of synonyms the first is the one written.
constexpr const char* kKnown[] = {"Offset Origin Position ElementOrigin ImagePosition",
                                  "TransformMatrix Rotation Orientation ElementDirection",
                                  "BinaryDataByteOrderMSB ElementByteOrderMSB",
                                  "ObjectType",
                                  "NDims",
                                  "DimSize",
                                  "BinaryData",
                                  "CompressedData",
                                  "CompressedDataSize",
                                  "AnatomicalOrientation",
                                  "HeaderSize",
                                  "ElementType",
                                  "ElementNumberOfChannels",
                                  "ElementSpacing",
                                  "ElementDataFile"};

// The first synonym; "" for a key that is not known.
std::string meaning_of(const std::string& key) {
  for (const char* synonyms : kKnown)
    if (const auto names = words(synonyms); std::ranges::count(names, key) > 0) return std::string(names[0]);
  return "";
}

constexpr ImageKeys kImageKeys{"NDims",  "ElementNumberOfChannels", "DimSize", "ElementSpacing",
                               "Offset", "TransformMatrix"};

// ---- the header ----

struct Line {
  std::string key, value, meaning;

  // The centre of rotation does not move the image; LUNA16's files all have zeros there, and so do ours.
  bool is_zero_centre() const {
    return key == "CenterOfRotation" && std::ranges::all_of(words(value), [](auto word) { return word == "0"; });
  }
};

// The lines "Key = Value" up to ElementDataFile.
struct KeyValues {
  std::string path;
  std::vector<Line> lines;
  int64_t end = 0;  // offset of the first byte after them

  // name: a known key's first synonym, or any other key
  const Line* find(const std::string& name) const {
    for (const Line& line : lines)
      if (line.key == name || line.meaning == name) return &line;
    return nullptr;
  }

  [[noreturn]] void refuse(const std::string& name, const auto&... why) const {
    const Line* line = find(name);
    fail(path, ": ", line ? line->key + " = " + shown(line->value) : name, ": ", why...);
  }

  // Empty `otherwise`: the key must be there.
  template <class T>
  std::vector<T> numbers(const std::string& name, size_t count, const std::vector<T>& otherwise = {}) const {
    const Line* line = find(name);
    if (!line && otherwise.empty()) refuse(name, "is missing");
    if (!line) return otherwise;
    std::vector<T> result;
    for (std::string_view word : words(line->value))
      if (!parse(word, result.emplace_back()))
        refuse(name, "'", shown(word), "' is not ", std::is_integral_v<T> ? "a whole number" : "a number");
    if (result.size() != count) refuse(name, "holds ", result.size(), " numbers instead of ", count);
    return result;
  }

  int64_t integer(const std::string& name, int64_t otherwise, int64_t min, int64_t max = INT64_MAX) const {
    const int64_t result = numbers<int64_t>(name, 1, {otherwise})[0];
    if (result < min || result > max) refuse(name, "must be ", min, max < INT64_MAX ? text(" to ", max) : " or more");
    return result;
  }

  bool flag(const std::string& name, bool otherwise) const {
    const Line* line = find(name);
    if (!line) return otherwise;
    for (const char* yes : {"True", "true", "T", "1"})
      if (line->value == yes) return true;
    for (const char* no : {"False", "false", "F", "0"})
      if (line->value == no) return false;
    refuse(name, "is neither True nor False");
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
    const std::string meaning = meaning_of(key);
    const Line* earlier = meaning.empty() ? nullptr : keys.find(meaning);
    if (earlier && words(earlier->value) != words(value))
      fail(file.path(), ": ", key, " = ", shown(value), ": does not agree with ", earlier->key, " = ",
           shown(earlier->value));
    keys.lines.push_back({key, value, meaning});
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
  int64_t* const numbers[] = {&first, &last, &step};
  for (size_t i = 1; i < parts.size(); i++)
    if (!parse(parts[i], *numbers[i - 1])) refuse("'", shown(parts[i]), "' is not a whole number");
  if (parts.size() < 3 && __builtin_add_overflow(first, count - 1, &last)) refuse("the last number is too large");
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
  const std::string& value = keys.find("ElementDataFile")->value;
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

}  // namespace

const char* metaimage_name_of(ElementType type) { return std::ranges::find(kTypes, type, &NamedType::type)->name; }

MetaHeader read_metaimage_header(const std::string& path) {
  const InputFile file(path);
  const KeyValues keys = read_keys(file);
  MetaHeader header;
  header.path = path;

  if (const Line* kind = keys.find("ObjectType"); kind && kind->value != "Image")
    keys.refuse("ObjectType", "only an Image can be read");
  const int64_t n = keys.integer("NDims", 0, 1, 10);
  header.dims = keys.numbers<int64_t>("DimSize", n);
  const Line* name = keys.find("ElementType");
  if (!name) keys.refuse("ElementType", "is missing");
  const auto type = std::ranges::find_if(kTypes, [&](const NamedType& t) {
    return name->value == t.name || name->value == std::string(t.name) + "_ARRAY";  // the same, for several channels
  });
  if (type == std::end(kTypes)) keys.refuse("ElementType", "is not a number type such as MET_SHORT");
  header.type = type->type;
  header.channels = int(keys.integer("ElementNumberOfChannels", 1, 1, INT32_MAX));

  std::vector<double> identity(n * n, 0.0);
  for (int64_t i = 0; i < n; i++) identity[i * n + i] = 1;
  const char* spacing = keys.find("ElementSpacing") ? "ElementSpacing" : "ElementSize";
  header.spacing = keys.numbers(spacing, n, std::vector<double>(n, 1.0));
  header.origin = keys.numbers("Offset", n, std::vector<double>(n, 0.0));
  header.direction = keys.numbers("TransformMatrix", n * n, identity);
  check_image(header, path, kImageKeys);

  header.binary = keys.flag("BinaryData", true);
  header.big_endian = keys.flag("BinaryDataByteOrderMSB", false);
  header.compressed = keys.flag("CompressedData", false);
  header.compressed_size = keys.integer("CompressedDataSize", 0, 0);
  header.header_size = keys.integer("HeaderSize", 0, -1);
  for (const Line& line : keys.lines)
    if (line.meaning.empty() && !line.is_zero_centre()) header.extra.emplace_back(line.key, line.value);
  find_files(header, keys, file);
  return header;
}

MetaImage read_metaimage(const std::string& path) {
  const MetaHeader header = read_metaimage_header(path);
  return read_slices(header, 0, header.dims.back());
}

void write_metaimage(const std::string& path, const ImageInfo& info, Bytes data, bool compressed,
                     const MetaKeys& extra) {
  check_image(info, data, path, kImageKeys);
  const fs::path name(path);
  const bool local = name.extension() == ".mha";
  if (!local && name.extension() != ".mhd") fail("cannot write ", path, ": the name must end in .mha or .mhd");
  const std::string data_name = local ? "LOCAL" : name.stem().string() + (compressed ? ".zraw" : ".raw");

  std::vector<std::byte> stream;
  if (compressed) {  // into memory, because the header states its size
    deflate_parts({data}, Wrapper::zlib, [&](Bytes chunk) { stream.insert(stream.end(), chunk.begin(), chunk.end()); });
    data = stream;
  }

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
  put("CompressedData", compressed ? "True" : "False");
  if (compressed) put("CompressedDataSize", std::to_string(data.size()));
  put("TransformMatrix", joined(info.direction));
  put("Offset", joined(info.origin));
  if (!has_centre) put("CenterOfRotation", joined(std::vector<double>(info.dims.size(), 0.0)));
  put("AnatomicalOrientation", anatomical_orientation(info));
  put("ElementSpacing", joined(info.spacing));
  put("DimSize", joined(info.dims));
  if (info.channels > 1) put("ElementNumberOfChannels", std::to_string(info.channels));
  put("ElementType", metaimage_name_of(info.type));
  for (const auto& [key, value] : extra) {
    if (!meaning_of(key).empty())
      fail("cannot write ", path, ": ", key, " cannot be an extra key: it follows from the image");
    put(key, value);
  }
  put("ElementDataFile", data_name);

  AtomicFile file(path);
  file.write(header);
  if (local) {
    file.write(data.data(), int64_t(data.size()));
  } else {
    AtomicFile data_file(sibling(path, data_name));
    data_file.write(data.data(), int64_t(data.size()));
    data_file.commit();
  }
  file.commit();
}

}  // namespace acinus
