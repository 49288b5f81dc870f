#include "tensor/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "tensor/io/file.h"

namespace acinus {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors are little-endian; byte swapping is not written");
using json = nlohmann::json;

float from_half(uint16_t bits) {  // IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.f : 1.f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return exponent == 0 ? sign * std::ldexp(float(fraction), -24)
                       : sign * std::ldexp(float(fraction + 1024), exponent - 25);
}

float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

// How one of the format's types is read: its size, the tensor's type, and the conversion of n elements.
struct Reader {
  int64_t size;
  DType dtype;
  void (*convert)(const char* from, int64_t n, const Tensor& to);
};

template <class From, class To, auto convert>
void read_as(const char* from, int64_t n, const Tensor& to) {
  for (int64_t i = 0; i < n; i++) {
    From value;
    std::memcpy(&value, from + i * int64_t(sizeof(From)), sizeof(From));
    to.data<To>()[i] = To(convert(value));
  }
}
template <class T>
T same(T value) {
  return value;
}
template <class T>
Reader integer() {
  return {sizeof(T), DType::f64, read_as<T, double, same<T>>};
}

const Reader* reader_of(const std::string& dtype) {
  static const std::map<std::string, Reader> readers{{"F32", {4, DType::f32, read_as<float, float, same<float>>}},
                                                     {"F64", {8, DType::f64, read_as<double, double, same<double>>}},
                                                     {"F16", {2, DType::f32, read_as<uint16_t, float, from_half>}},
                                                     {"BF16", {2, DType::f32, read_as<uint16_t, float, from_bfloat16>}},
                                                     {"I64", integer<int64_t>()},
                                                     {"I32", integer<int32_t>()},
                                                     {"I16", integer<int16_t>()},
                                                     {"I8", integer<int8_t>()},
                                                     {"U8", integer<uint8_t>()},
                                                     {"BOOL", integer<uint8_t>()}};
  const auto it = readers.find(dtype);
  return it == readers.end() ? nullptr : &it->second;
}

// The header's JSON; of two entries with one name the second would silently replace the first.
json parse_header(const std::string& path, const std::string& header) {
  std::set<std::string> names;
  std::string twice;
  const auto watch = [&](int depth, json::parse_event_t event, json& key) {
    check(depth <= 8, path, ": the header is nested too deeply to be a safetensors header");
    if (event == json::parse_event_t::key && depth == 1 && !names.insert(key.get<std::string>()).second)
      twice = key.get<std::string>();
    return true;
  };
  try {
    json parsed = json::parse(header, watch);
    if (!twice.empty()) fail(path, ": the name \"", twice, "\" occurs twice in the header");
    if (!parsed.is_object()) fail(path, ": the header is not a JSON object; not a safetensors file");
    return parsed;
  } catch (const json::exception& e) {
    fail(path, ": the header is not valid JSON (", e.what(), "); not a safetensors file, or it is damaged");
  }
}

std::vector<int64_t> whole_numbers(const json& list) {
  if (!list.is_array()) fail(list.dump(), " is not a list");
  std::vector<int64_t> numbers;
  for (const json& number : list) {
    if (!number.is_number_integer()) fail(number.dump(), " is not a whole number");
    numbers.push_back(number.get<int64_t>());
  }
  return numbers;
}

}  // namespace

const Tensor& SafeTensors::operator[](const std::string& name) const {
  for (const auto& [its_name, tensor] : tensors)
    if (its_name == name) return tensor;
  fail("no tensor is named \"", name, "\"");
}

bool SafeTensors::contains(const std::string& name) const {
  return std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; });
}

std::string SafeTensors::differences(const NamedTensors& expected,
                                     const std::function<bool(const std::string& name)>& concerns) const {
  std::string lines;
  for (const auto& [name, tensor] : expected)
    if (!contains(name))
      lines += text("\n  missing:    ", name, " ", tensor.shape());
    else if (const Shape& shape = (*this)[name].shape(); shape != tensor.shape())
      lines += text("\n  mis-shaped: ", name, " is ", shape, ", expected ", tensor.shape());
  for (const auto& [name, tensor] : tensors)
    if (concerns(name) &&
        std::none_of(expected.begin(), expected.end(), [&n = name](const auto& e) { return e.first == n; }))
      lines += text("\n  unexpected: ", name, " ", tensor.shape());
  return lines;
}

SafeTensors read_safetensors(const std::string& path) {
  const InputFile file(path);
  uint64_t length = 0;
  if (file.size() < 8) fail(path, ": ", file.size(), " bytes; a safetensors file has at least 8");
  file.read(0, &length, 8);
  if (length > 100'000'000 || int64_t(length) > file.size() - 8)
    fail(path, ": says its header has ", length, " bytes, but the file has ", file.size(),
         " (limit 100000000); not a safetensors file, or it is cut off");
  std::string header(length, '\0');
  file.read(8, header.data(), int64_t(length));
  const json parsed = parse_header(path, header);

  struct Entry {
    std::string name;
    const Reader* reader;
    Shape shape;
    int64_t begin, end;
  };
  SafeTensors result;
  std::vector<Entry> entries;
  const int64_t data_start = 8 + int64_t(length), data_bytes = file.size() - data_start;
  for (const auto& [name, value] : parsed.items()) {
    try {
      if (name == "__metadata__") {
        result.metadata = value.get<std::map<std::string, std::string>>();
        continue;
      }
      const std::string dtype = value.at("dtype").get<std::string>();
      const Reader* reader = reader_of(dtype);
      if (!reader) fail("its type ", dtype, " is not supported (F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL are)");
      const auto dims = whole_numbers(value.at("shape"));
      const Shape shape(dims.data(), int(std::min<size_t>(dims.size(), 99)));
      const auto offsets = whole_numbers(value.at("data_offsets"));
      if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > data_bytes)
        fail("its data_offsets lie outside the file's ", data_bytes, " bytes of data; is the file cut off?");
      if (offsets[1] - offsets[0] != shape.elements() * reader->size)
        fail("shape ", shape, " of ", dtype, " needs ", shape.elements() * reader->size, " bytes, data_offsets give ",
             offsets[1] - offsets[0]);
      entries.push_back({name, reader, shape, offsets[0], offsets[1]});
    } catch (const Error& e) {
      fail(path, ": \"", name, "\": ", e.what());
    } catch (const json::exception& e) {
      fail(path, ": \"", name, "\": ", e.what());
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t at = 0;
  for (const Entry& e : entries) {
    if (e.begin != at)
      fail(path, ": \"", e.name, "\" starts at byte ", e.begin, " of the data, the one before ends at ", at);
    at = e.end;
  }
  if (at != data_bytes) fail(path, ": the tensors end at byte ", at, " of the data, the file at ", data_bytes);

  std::string bytes;
  for (const Entry& e : entries) {
    bytes.resize(e.end - e.begin);
    file.read(data_start + e.begin, bytes.data(), e.end - e.begin);
    Tensor t(e.shape, e.reader->dtype);
    e.reader->convert(bytes.data(), e.shape.elements(), t);
    result.tensors.emplace_back(e.name, t);
  }
  return result;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // The reference's order: the wider type first (so that all data are aligned), then by name.
  NamedTensors sorted = tensors;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    const int64_t size_a = size_of(a.second.dtype()), size_b = size_of(b.second.dtype());
    return size_a != size_b ? size_a > size_b : a.first < b.first;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t at = 0;
  for (const auto& [name, t] : sorted) {
    check(!header.contains(name), "write_safetensors: the name \"", name, "\" occurs twice");
    const int64_t bytes = t.elements() * size_of(t.dtype());
    header[name] = {{"dtype", t.dtype() == DType::f32   ? "F32"
                              : t.dtype() == DType::f64 ? "F64"
                                                        : "BF16"},
                    {"shape", std::vector<int64_t>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(text);
  for (const auto& entry : sorted) {
    const Tensor t = entry.second.to(Device::cpu);
    dispatch(t.dtype(), [&](auto zero) { file.write(t.data<decltype(zero)>(), t.elements() * int64_t(sizeof zero)); });
  }
  file.commit();
}

}  // namespace acinus
