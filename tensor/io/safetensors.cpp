#include "tensor/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "tensor/io/file.h"
#include "tensor/io/half.h"
#include "tensor/io/json.h"

namespace acinus {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors are little-endian; byte swapping is not written");

// How one of the format's types is read: its size, and the conversion of elements to a tensor.
struct Reader {
  int64_t size;
  Tensor (*convert)(const std::string& bytes, const Shape& shape);
};

template <class From, class To>
constexpr Reader as() {
  return {sizeof(From), [](const std::string& bytes, const Shape& shape) {
            Tensor t(shape, dtype_of<To>());
            To* to = t.data<To>();
            for (size_t i = 0; i < bytes.size(); i += sizeof(From)) {
              From value;
              std::memcpy(&value, &bytes[i], sizeof value);
              *to++ = To(value);
            }
            return t;
          }};
}

const std::map<std::string, Reader> readers = {{"F32", as<float, float>()},    {"F64", as<double, double>()},
                                               {"F16", as<Half, float>()},     {"BF16", as<bf16, float>()},
                                               {"I64", as<int64_t, double>()}, {"I32", as<int32_t, double>()},
                                               {"I16", as<int16_t, double>()}, {"I8", as<int8_t, double>()},
                                               {"U8", as<uint8_t, double>()},  {"BOOL", as<uint8_t, double>()}};

Json parse_header(const std::string& path, const std::string& header) {
  try {
    Json parsed = parse_json(header);
    if (!parsed.get<Json::Object>()) fail(path, ": the header is not a JSON object; not a safetensors file");
    return parsed;
  } catch (const JsonError& e) {
    fail(path, ": the header is not valid JSON (", e.what(), "); not a safetensors file, or it is damaged");
  }
}

}  // namespace

const Tensor& SafeTensors::operator[](const std::string& name) const {
  for (const auto& [its_name, tensor] : tensors)
    if (its_name == name) return tensor;
  fail("no tensor is named \"", name, "\"");
}

bool SafeTensors::contains(const std::string& name) const {
  return std::ranges::count(tensors, name, &NamedTensors::value_type::first) > 0;
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
    if (concerns(name) && std::ranges::count(expected, name, &NamedTensors::value_type::first) == 0)
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
  const Json parsed = parse_header(path, header);

  struct Entry {
    std::string name;
    const Reader* reader;
    Shape shape;
    int64_t begin, bytes;
  };
  SafeTensors result;
  std::vector<Entry> entries;
  const int64_t data_start = 8 + int64_t(length), data_bytes = file.size() - data_start;
  for (const auto& [name, value] : *parsed.get<Json::Object>()) {
    try {
      if (name == "__metadata__") {
        result.metadata = value.as<std::map<std::string, std::string>>();
        continue;
      }
      const std::string dtype = value.at("dtype").as<std::string>();
      const auto reader = readers.find(dtype);
      if (reader == readers.end())
        fail("its type ", dtype, " is not supported (F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL are)");
      const auto dims = value.at("shape").as<std::vector<int64_t>>();
      const Shape shape(dims.data(), int(std::min<size_t>(dims.size(), 99)));
      const auto offsets = value.at("data_offsets").as<std::vector<int64_t>>();
      if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > data_bytes)
        fail("its data_offsets lie outside the file's ", data_bytes, " bytes of data; is the file cut off?");
      const int64_t needed = shape.elements() * reader->second.size, given = offsets[1] - offsets[0];
      if (given != needed) fail("shape ", shape, " of ", dtype, " needs ", needed, " bytes, data_offsets give ", given);
      entries.push_back({name, &reader->second, shape, offsets[0], given});
    } catch (const std::exception& e) {
      fail(path, ": \"", name, "\": ", e.what());
    }
  }
  std::ranges::sort(entries, {}, [](const Entry& e) { return std::tie(e.begin, e.bytes, e.name); });
  int64_t at = 0;
  std::string bytes;
  for (const Entry& e : entries) {
    if (e.begin != at)
      fail(path, ": \"", e.name, "\" starts at byte ", e.begin, " of the data, the one before ends at ", at);
    bytes.resize(e.bytes);
    file.read(data_start + at, bytes.data(), e.bytes);
    result.tensors.emplace_back(e.name, e.reader->convert(bytes, e.shape));
    at += e.bytes;
  }
  if (at != data_bytes) fail(path, ": the tensors end at byte ", at, " of the data, the file at ", data_bytes);
  return result;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // The reference's order: the wider type first (so that all data are aligned), then by name.
  NamedTensors sorted = tensors;
  std::ranges::sort(sorted, {}, [](const auto& t) { return std::pair(-size_of(t.second.dtype()), t.first); });
  Json header = Json::Object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t at = 0;
  for (const auto& [name, t] : sorted) {
    check(!header.find(name), "write_safetensors: the name \"", name, "\" occurs twice");
    const int64_t bytes = t.elements() * size_of(t.dtype());
    const char* dtype = t.dtype() == DType::f32 ? "F32" : t.dtype() == DType::f64 ? "F64" : "BF16";
    header[name] = {{"dtype", dtype},
                    {"shape", std::vector(t.shape().begin(), t.shape().end())},
                    {"data_offsets", std::vector{at, at + bytes}}};
    at += bytes;
  }
  std::string text = to_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, 8);
  file.write(text);
  for (const auto& [name, tensor] : sorted) {
    const Tensor t = tensor.to(Device::cpu);
    dispatch(t.dtype(), [&](auto zero) { file.write(t.data<decltype(zero)>(), t.elements() * int64_t(sizeof zero)); });
  }
  file.commit();
}

}  // namespace acinus
