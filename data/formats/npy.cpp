#include "data/formats/npy.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "data/formats/byte_source.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/io/half.h"
#include "tensor/io/json.h"
#include "tensor/text.h"

namespace acinus {

namespace {

struct NamedType {
  const char* name;  // as NumPy names it: letter and bytes
  ElementType type;  // in memory
};
// The first name of a type is the one written. Booleans are read as uint8, half precision is widened to float32.
constexpr NamedType kTypes[] = {{"i1", ElementType::i8},  {"u1", ElementType::u8},  {"i2", ElementType::i16},
                                {"u2", ElementType::u16}, {"i4", ElementType::i32}, {"u4", ElementType::u32},
                                {"i8", ElementType::i64}, {"u8", ElementType::u64}, {"f4", ElementType::f32},
                                {"f8", ElementType::f64}, {"b1", ElementType::u8},  {"f2", ElementType::f32}};
const char* npy_name(ElementType type) { return std::ranges::find(kTypes, type, &NamedType::type)->name; }

constexpr int64_t kHeaderLimit = 1 << 16;  // bytes

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string result = "(";
  for (int64_t n : shape) result += text(result.size() > 1 ? " " : "", n, ",");
  if (shape.size() > 1) result.pop_back();  // (3,) but (2, 3)
  return result + ")";
}

struct Header {
  NamedType type{};
  bool big_endian = false, fortran_order = false;
  std::vector<int64_t> shape;
  int64_t element_size() const { return type.name[1] - '0'; }  // bytes, in the file
};

// The header is a Python dict, {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. As JSON it is
// {"descr": "<f4", "fortran_order": false, "shape": [2, 3]}.
std::string as_json(std::string_view dict) {
  std::string result;
  for (const char c : dict) {
    const bool closes = c == ')' || c == '}';
    if (closes) result.resize(result.find_last_not_of(" \t\r\n,") + 1);  // Python allows a comma before it
    if (c == 'L' && !result.empty() && std::isdigit(uint8_t(result.back()))) continue;  // Python 2's long integers
    result += c == '\'' ? '"' : c == '(' ? '[' : c == ')' ? ']' : c == 'T' ? 't' : c == 'F' ? 'f' : c;
  }
  return result;
}

Header parse_header(const std::string& path, const std::string& dict) {
  Json json;
  try {
    json = parse_json(as_json(dict));
  } catch (const JsonError&) {
  }
  const Json *type = json.find("descr"), *order = json.find("fortran_order"), *shape = json.find("shape");
  if (!type || !order || !shape || json.get<Json::Object>()->size() != 3 || !order->get<bool>() ||
      !shape->get<Json::List>())
    fail(path, ": the header must be a dict of descr, fortran_order and shape; it is ", shown(dict));
  Header header;
  header.fortran_order = order->as<bool>();
  for (const Json& size : *shape->get<Json::List>()) {
    if (!size.get<int64_t>() || size.as<int64_t>() < 0) fail(path, ": shape: ", shown(to_text(size)), " is not a size");
    header.shape.push_back(size.as<int64_t>());
  }
  if (!type->get<std::string>()) fail(path, ": descr: only arrays of numbers are supported, not of records");
  const auto descr = type->as<std::string>();
  const auto found = std::ranges::find(kTypes, descr.substr(std::min<size_t>(1, descr.size())), &NamedType::name);
  if (found == std::end(kTypes) || std::string_view("<>|=").find(descr[0]) == std::string_view::npos)
    fail(path, ": descr: '", shown(descr), "' is not a supported number type such as '<f4'");
  header.type = *found;
  header.big_endian = descr[0] == '>' || (descr[0] != '<' && kNativeBigEndian);
  return header;
}

// From Fortran order (first axis fastest) to C order (last axis fastest): walks the result in order, counting the index
// along each axis.
std::vector<std::byte> to_c_order(const std::vector<std::byte>& from, const std::vector<int64_t>& shape, int64_t size) {
  std::vector<std::byte> to(from.size());
  std::vector<int64_t> index(shape.size()), stride(shape.size());
  int64_t step = size;
  for (size_t axis = 0; axis < shape.size(); axis++) stride[axis] = step, step *= shape[axis];
  int64_t source = 0;
  for (size_t offset = 0; offset < to.size(); offset += size) {
    std::memcpy(&to[offset], &from[source], size);
    for (size_t axis = shape.size(); axis-- > 0;) {
      source += stride[axis];
      if (++index[axis] < shape[axis]) break;
      source -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return to;
}

std::vector<std::byte> widened(const std::vector<std::byte>& halves) {
  std::vector<std::byte> floats(2 * halves.size());
  for (size_t i = 0; i < halves.size(); i += sizeof(Half)) {
    Half half;
    std::memcpy(&half, &halves[i], sizeof half);
    const float value = half;
    std::memcpy(&floats[2 * i], &value, sizeof value);
  }
  return floats;
}

}  // namespace

int64_t NpyArray::size() const {
  if (std::ranges::count(shape, 0) > 0) return 0;  // whatever the other sizes claim
  int64_t product = 1;
  for (int64_t n : shape) product *= n;
  return product;
}

void NpyArray::check_type(ElementType wanted) const {
  check(type == wanted, "npy: the array holds ", npy_name(type), ", not ", npy_name(wanted));
}

NpyArray read_npy(const std::string& path) {
  const InputFile file(path);
  unsigned char start[12];
  file.read(0, start, std::min<int64_t>(12, file.size()));
  if (file.size() < 12 || std::memcmp(start, "\x93NUMPY", 6) != 0) fail(path, ": not a .npy file: wrong signature");
  const int major = start[6];
  if (major < 1 || major > 3) fail(path, ": version ", major, " of .npy is not supported; 1 to 3 are");
  const int64_t begin = major == 1 ? 10 : 12;
  const int64_t length = start[8] | start[9] << 8 | (major == 1 ? 0 : start[10] << 16 | int64_t(start[11]) << 24);
  if (length > kHeaderLimit) fail(path, ": a header of ", length, " bytes, more than the limit of ", kHeaderLimit);
  std::string text(length, '\0');
  file.read(begin, text.data(), length);
  const Header header = parse_header(path, text);

  const int64_t size = header.element_size();
  int64_t bytes = std::ranges::count(header.shape, 0) > 0 ? 0 : size;
  for (int64_t n : header.shape)
    if (__builtin_mul_overflow(bytes, n, &bytes)) fail(path, ": shape: more bytes than 64 bits can count");
  ByteSource source(file, begin + length, file.size(), ByteSource::stored, path);
  if (bytes > source.max_size())
    fail(path, ": shape ", shape_text(header.shape), " of ", header.type.name, " requires ", bytes, " bytes, but ",
         source.max_size(), " follow");
  NpyArray array{header.type.type, header.shape, {}};
  reserve_memory(array.data, bytes, path);
  source.values(bytes / size, size, header.big_endian,
                [&](Bytes chunk) { array.data.insert(array.data.end(), chunk.begin(), chunk.end()); });
  if (header.fortran_order && bytes > 0) array.data = to_c_order(array.data, array.shape, size);
  if (header.type.name == std::string_view("f2")) array.data = widened(array.data);
  return array;
}

void write_npy(const std::string& path, const NpyArray& array) {
  const int64_t bytes = array.size() * size_of(array.type);
  check(int64_t(array.data.size()) == bytes, "write_npy: ", path, ": shape ", shape_text(array.shape), " requires ",
        bytes, " bytes, not ", array.data.size());
  const char* order = size_of(array.type) == 1 ? "|" : kNativeBigEndian ? ">" : "<";
  std::string header = text("{'descr': '", order, npy_name(array.type),
                            "', 'fortran_order': False, 'shape': ", shape_text(array.shape), ", }");
  header.append(64 - (10 + header.size() + 1) % 64, ' ');  // the data begin at a multiple of 64
  header += '\n';
  check(header.size() < 65536, "write_npy: ", path, ": ", array.shape.size(), " axes are too many");
  AtomicFile file(path);
  file.write(std::string("\x93NUMPY\x01\x00", 8) + char(header.size() & 255) + char(header.size() >> 8) + header);
  file.write(array.data.data(), bytes);
  file.commit();
}

}  // namespace acinus
