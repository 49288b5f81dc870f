#include "data/formats/npy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr const char* kNames[] = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"};
constexpr int64_t kHeaderLimit = 1 << 16;  // bytes
constexpr bool kNativeBigEndian = std::endian::native == std::endian::big;

const char* name_of(NpyType type) { return kNames[size_t(type)]; }
int64_t size_of(NpyType type) { return name_of(type)[1] - '0'; }

template <class T>
NpyType type_of() {
  const char letter = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
  for (size_t i = 0; i < std::size(kNames); i++)
    if (kNames[i][0] == letter && kNames[i][1] == char('0' + sizeof(T))) return NpyType(i);
  fail("npy: no such type");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string result = "(";
  for (int64_t n : shape) result += text(result.size() > 1 ? " " : "", n, ",");
  if (shape.size() > 1) result.pop_back();  // (3,) but (2, 3)
  return result + ")";
}

// The header is a dict as Python prints it: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
struct Header {
  const std::string& path;
  std::string_view rest;
  NpyType type = NpyType::f4;
  bool big_endian = false, fortran_order = false;
  std::vector<int64_t> shape;

  // Takes `token` off the front, after blanks; says whether it was there.
  bool take(std::string_view token) {
    while (!rest.empty() && is_blank(rest.front())) rest.remove_prefix(1);
    if (!rest.starts_with(token)) return false;
    rest.remove_prefix(token.size());
    return true;
  }

  void expect(std::string_view token) {
    if (!take(token)) fail(path, ": the header has '", shown(rest.substr(0, 20)), "' where ", token, " is wanted");
  }

  std::string_view take_text() {
    const std::string_view quote = take("\"") ? "\"" : "'";
    if (quote == "'") expect("'");
    const std::string_view value = rest.substr(0, rest.find(quote));
    rest.remove_prefix(value.size());
    expect(quote);
    return value;
  }

  void take_type() {
    if (take("[")) fail(path, ": descr: an array of records cannot be read, only one of numbers");
    const std::string_view descr = take_text();
    const auto name = std::ranges::find(kNames, descr.substr(std::min<size_t>(1, descr.size())));
    if (name == std::end(kNames) || std::string_view("<>|=").find(descr[0]) == std::string_view::npos)
      fail(path, ": descr: '", shown(descr), "' is no type of number that can be read; '<f4' is one");
    type = NpyType(name - std::begin(kNames));
    big_endian = descr[0] == '>' || (descr[0] != '<' && kNativeBigEndian);
  }

  void take_shape() {
    expect("(");
    shape.clear();
    while (!take(")")) {
      take("");  // the blanks before the number
      const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
      if (!parse(rest.substr(0, digits), shape.emplace_back()))
        fail(path, ": shape: '", shown(rest.substr(0, 20)), "' is no size");
      rest.remove_prefix(digits);
      take("L");  // as Python 2 wrote long integers
      if (take(",")) continue;
      expect(")");
      break;
    }
  }

  Header(const std::string& path, std::string_view text) : path(path), rest(text) {
    bool has_type = false, has_order = false, has_shape = false;
    expect("{");
    while (!take("}")) {
      const std::string_view key = take_text();
      expect(":");
      if (key == "descr") {
        take_type(), has_type = true;
      } else if (key == "shape") {
        take_shape(), has_shape = true;
      } else if (key == "fortran_order") {
        fortran_order = take("True"), has_order = true;
        if (!fortran_order) expect("False");
      } else {
        fail(path, ": the header has an unexpected key '", shown(key), "'");
      }
      if (take(",")) continue;
      expect("}");
      break;
    }
    if (!has_type || !has_order || !has_shape) fail(path, ": the header lacks descr, fortran_order or shape");
    if (!trimmed(rest).empty()) fail(path, ": the header goes on after its closing brace");
  }
};

void reverse_each(std::vector<std::byte>& data, int64_t size) {
  for (auto at = data.begin(); at != data.end(); at += size) std::reverse(at, at + size);
}

// From first axis fastest to last axis fastest: walks the result in order, keeping the index of each axis.
std::vector<std::byte> turned_round(const std::vector<std::byte>& from, const std::vector<int64_t>& shape,
                                    int64_t size) {
  std::vector<std::byte> to(from.size());
  std::vector<int64_t> index(shape.size()), stride(shape.size());
  int64_t step = size;
  for (size_t axis = 0; axis < shape.size(); axis++) stride[axis] = step, step *= shape[axis];
  int64_t source = 0;
  for (size_t at = 0; at < to.size(); at += size_t(size)) {
    std::memcpy(&to[at], &from[size_t(source)], size_t(size));
    for (size_t axis = shape.size(); axis-- > 0;) {
      source += stride[axis];
      if (++index[axis] < shape[axis]) break;
      source -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return to;
}

// IEEE half precision: 1 sign bit, 5 of exponent (bias 15), 10 of fraction.
float from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(float(fraction), -24)
                                     : std::ldexp(float(1024 + fraction), exponent - 25);
  return half >> 15 ? -size : size;
}

}  // namespace

int64_t NpyArray::size() const {
  if (std::ranges::count(shape, 0) > 0) return 0;  // whatever the other sizes claim
  int64_t product = 1;
  for (int64_t n : shape) product *= n;
  return product;
}

NpyArray read_npy(const std::string& path) {
  const InputFile file(path);
  unsigned char start[12];
  file.read(0, start, std::min<int64_t>(12, file.size()));
  if (file.size() < 12 || std::memcmp(start, "\x93NUMPY", 6) != 0) fail(path, ": is no .npy file");
  const int major = start[6];
  if (major < 1 || major > 3) fail(path, ": version ", major, " of .npy cannot be read, 1 to 3 can");
  const int64_t begin = major == 1 ? 10 : 12;
  const int64_t length = start[8] | start[9] << 8 | (major == 1 ? 0 : start[10] << 16 | int64_t(start[11]) << 24);
  if (length > kHeaderLimit) fail(path, ": a header of ", length, " bytes, more than the limit of ", kHeaderLimit);
  std::string text(size_t(length), '\0');
  file.read(begin, text.data(), length);
  const Header header(path, text);

  NpyArray array;
  array.type = header.type, array.shape = header.shape;
  int64_t bytes = std::ranges::count(header.shape, 0) > 0 ? 0 : size_of(header.type);
  for (int64_t n : header.shape)
    if (__builtin_mul_overflow(bytes, n, &bytes)) fail(path, ": shape: more bytes than 64 bits can count");
  const int64_t there = file.size() - begin - length;
  if (bytes > there)
    fail(path, ": shape ", shape_text(header.shape), " of ", name_of(header.type), " wants ", bytes, " bytes, ", there,
         " are there");
  array.data.resize(size_t(bytes));
  file.read(begin + length, array.data.data(), bytes);
  if (header.big_endian != kNativeBigEndian) reverse_each(array.data, size_of(header.type));
  if (header.fortran_order && bytes > 0) array.data = turned_round(array.data, array.shape, size_of(array.type));
  return array;
}

void write_npy(const std::string& path, const NpyArray& array) {
  const int64_t bytes = array.size() * size_of(array.type);
  check(int64_t(array.data.size()) == bytes, "write_npy: ", path, ": shape ", shape_text(array.shape), " wants ", bytes,
        " bytes, there are ", array.data.size());
  const char* order = size_of(array.type) == 1 ? "|" : kNativeBigEndian ? ">" : "<";
  std::string header = text("{'descr': '", order, name_of(array.type),
                            "', 'fortran_order': False, 'shape': ", shape_text(array.shape), ", }");
  header.append(64 - (10 + header.size() + 1) % 64, ' ');  // the data begin at a multiple of 64
  header += '\n';
  check(header.size() < 65536, "write_npy: ", path, ": ", array.shape.size(), " axes are too many");
  AtomicFile file(path);
  file.write(std::string("\x93NUMPY\x01\x00", 8) + char(header.size() & 255) + char(header.size() >> 8) + header);
  file.write(array.data.data(), bytes);
  file.commit();
}

template <class T>
std::vector<T> NpyArray::values() const {
  std::vector<T> result(static_cast<size_t>(size()));
  if (type == NpyType::f2 && std::is_same_v<T, float>) {
    for (size_t i = 0; i < result.size(); i++) {
      uint16_t half;
      std::memcpy(&half, &data[2 * i], 2);
      result[i] = T(from_half(half));
    }
    return result;
  }
  const bool is_flag = type == NpyType::b1 && std::is_same_v<T, uint8_t>;
  check(type == type_of<T>() || is_flag, "npy: the array holds ", name_of(type), ", not ", name_of(type_of<T>()));
  if (!data.empty()) std::memcpy(result.data(), data.data(), data.size());
  return result;
}

template <class T>
void write_npy(const std::string& path, const std::vector<int64_t>& shape, const std::vector<T>& values) {
  const std::byte* first = reinterpret_cast<const std::byte*>(values.data());
  write_npy(path, {type_of<T>(), shape, {first, first + values.size() * sizeof(T)}});
}

#define ACINUS_NPY(T)                               \
  template std::vector<T> NpyArray::values() const; \
  template void write_npy(const std::string&, const std::vector<int64_t>&, const std::vector<T>&);
ACINUS_NPY(int8_t)
ACINUS_NPY(int16_t)
ACINUS_NPY(int32_t)
ACINUS_NPY(int64_t)
ACINUS_NPY(uint8_t)
ACINUS_NPY(uint16_t)
ACINUS_NPY(uint32_t)
ACINUS_NPY(uint64_t)
ACINUS_NPY(float)
ACINUS_NPY(double)
#undef ACINUS_NPY

}  // namespace acinus
