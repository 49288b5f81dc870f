#include "data/formats/nifti.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "data/formats/byte_source.h"
#include "data/formats/deflate.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kHeaderSize = 348, kMinOffset = 352;
constexpr int64_t kChunk = 64 << 10;  // values converted at a time
constexpr bool kNativeBigEndian = std::endian::native == std::endian::big;
constexpr ImageKeys kImageKeys{"dim[0]", "channels", "dim", "pixdim", "offset", "axes"};

enum Offset : size_t {
  kSizeofHdr = 0,
  kDim = 40,
  kDatatype = 70,
  kBitpix = 72,
  kPixdim = 76,
  kVoxOffset = 108,
  kSclSlope = 112,
  kSclInter = 116,
  kXyztUnits = 123,
  kQformCode = 252,
  kSformCode = 254,
  kQuatern = 256,
  kQoffset = 268,
  kSrow = 280,
  kMagic = 344
};

struct Datatype {
  int code;
  ElementType type;
};
constexpr Datatype kDatatypes[] = {{2, ElementType::u8},    {4, ElementType::i16},   {8, ElementType::i32},
                                   {16, ElementType::f32},  {64, ElementType::f64},  {256, ElementType::i8},
                                   {512, ElementType::u16}, {768, ElementType::u32}, {1024, ElementType::i64},
                                   {1280, ElementType::u64}};

constexpr std::pair<int, const char*> kUnsupported[] = {
    {1, "single bits"},        {32, "complex numbers"},   {128, "colours"}, {1536, "float128"},
    {1792, "complex numbers"}, {2048, "complex numbers"}, {2304, "colours"}};

// ---- the bytes of a file, as they are without gzip

bool is_gzip(const InputFile& file) {
  unsigned char start[2] = {};
  file.read(0, start, std::min<int64_t>(2, file.size()));
  return start[0] == 0x1f && start[1] == 0x8b;
}

struct NiftiFile {
  InputFile file;
  ByteSource bytes;

  explicit NiftiFile(const std::string& path)
      : file(path),
        bytes(file, 0, file.size(), is_gzip(file) ? ByteSource::deflated : ByteSource::stored, path + ": ") {}
};

// ---- the header

using HeaderBytes = std::array<std::byte, kHeaderSize>;

// Gives access to the fields of a header in this machine's byte order.
struct HeaderFields {
  const std::string& path;
  const HeaderBytes& bytes;
  bool swapped = false;

  template <class T>
  T get(size_t offset, size_t i = 0) const {
    std::array<std::byte, sizeof(T)> field;
    std::memcpy(field.data(), &bytes[offset + i * sizeof(T)], sizeof(T));
    if (swapped) std::reverse(field.begin(), field.end());
    return std::bit_cast<T>(field);
  }
  double number(size_t offset, size_t i = 0) const { return double(get<float>(offset, i)); }
  std::vector<double> numbers(size_t offset, size_t count) const {
    std::vector<double> result;
    for (size_t i = 0; i < count; i++) result.push_back(number(offset, i));
    return result;
  }

  [[noreturn]] void refuse(const char* field, const std::string& value, const auto&... why) const {
    fail(path, ": ", field, " = ", value, ": ", why...);
  }
  void check_finite(const char* field, const std::vector<double>& values) const {
    for (double x : values)
      if (!std::isfinite(x)) refuse(field, joined(values), "must be finite");
  }
};

// Refuses everything but NIfTI-1 in one file; finds the byte order.
void check_kind(HeaderFields& fields) {
  const auto size_is = [&](int32_t size) {
    for (bool swapped : {false, true}) {
      fields.swapped = swapped;
      if (fields.get<int32_t>(kSizeofHdr) == size) return true;
    }
    return false;
  };
  if (size_is(540))
    fields.refuse("sizeof_hdr", "540", "this is NIfTI-2, which is not supported; convert it to NIfTI-1");
  if (!size_is(kHeaderSize)) {
    fields.swapped = false;
    fields.refuse("sizeof_hdr", text(fields.get<int32_t>(kSizeofHdr)), "must be 348: not a NIfTI-1 file");
  }
  const std::string magic(reinterpret_cast<const char*>(&fields.bytes[kMagic]), 4);
  if (magic == std::string("ni1\0", 4))
    fields.refuse("magic", "ni1", "the values are in an .img file; convert the pair to one .nii file");
  if (magic != std::string("n+1\0", 4))
    fields.refuse("magic", "'" + shown(magic) + "'",
                  "must be n+1; without it the file may be Analyze, which is not supported");
}

void read_types(const HeaderFields& fields, NiftiHeader& header) {
  const int code = fields.get<int16_t>(kDatatype), bits = fields.get<int16_t>(kBitpix);
  const auto known = std::ranges::find(kDatatypes, code, &Datatype::code);
  if (known == std::end(kDatatypes)) {
    const auto* other = std::ranges::find(kUnsupported, code, &std::pair<int, const char*>::first);
    fields.refuse("datatype", text(code), "values are ", other == std::end(kUnsupported) ? "unknown" : other->second,
                  "; only integers of 8 to 64 bits, float32 and float64 are supported");
  }
  header.stored = known->type;
  if (bits != 8 * size_of(header.stored))
    fields.refuse("bitpix", text(bits), "datatype = ", code, " has ", 8 * size_of(header.stored), " bits");

  const double slope = fields.number(kSclSlope), inter = fields.number(kSclInter);
  if (slope != 0 && !std::isnan(slope)) {
    fields.check_finite("scl_slope", {slope});
    fields.check_finite("scl_inter", {inter});
    header.slope = slope, header.inter = inter;
  }
  header.type = header.scaled() ? ElementType::f64 : header.stored;
}

// dims and spacing in the file's unit.
void read_dims(const HeaderFields& fields, NiftiHeader& header) {
  const int64_t n = fields.get<int16_t>(kDim);
  if (n < 1 || n > 7) fields.refuse("dim[0]", text(n), "must be 1 to 7");
  const std::vector<double> pixdims = fields.numbers(kPixdim, 8);
  std::string sizes;
  for (int64_t i = 1; i <= n; i++) sizes += text(i > 1 ? " " : "", fields.get<int16_t>(kDim, i));
  for (int64_t i = 1; i <= std::max<int64_t>(n, 3); i++) {
    const int64_t size = i <= n ? fields.get<int16_t>(kDim, i) : 1;
    double pixdim = pixdims[i];
    if (size < 1) fields.refuse("dim", sizes, "each size must be at least 1");
    // Dimensions that the file lacks need no spacing, and many files omit the time between volumes.
    if (i > n || (i > 3 && pixdim == 0)) pixdim = 1;
    if (!std::isfinite(pixdim) || pixdim <= 0)
      fields.refuse("pixdim", joined({pixdims.begin() + 1, pixdims.begin() + 1 + n}),
                    "each spacing must be finite and above 0");
    header.dims.push_back(size), header.spacing.push_back(pixdim);
  }
  while (header.dims.size() > 3 && header.dims.back() == 1) header.dims.pop_back(), header.spacing.pop_back();
}

// Columns 0 to 2: the step from one voxel to the next along each index axis; column 3: the first voxel. In RAS and the
// file's unit, as in the header.
using Affine = std::array<std::array<double, 4>, 3>;

Affine from_srow(const HeaderFields& fields) {
  const std::vector<double> srow = fields.numbers(kSrow, 12);
  fields.check_finite("srow", srow);
  Affine affine;
  for (size_t i = 0; i < 12; i++) affine[i / 4][i % 4] = srow[i];
  return affine;
}

Affine from_quatern(const HeaderFields& fields, const std::vector<double>& spacing) {
  const std::vector<double> quatern = fields.numbers(kQuatern, 3), qoffset = fields.numbers(kQoffset, 3);
  fields.check_finite("quatern", quatern);
  fields.check_finite("qoffset", qoffset);
  fields.check_finite("pixdim[0]", {fields.number(kPixdim)});
  double b = quatern[0], c = quatern[1], d = quatern[2];
  const double squares = b * b + c * c + d * d;
  if (squares > 1 + 1e-5) fields.refuse("quatern", joined(quatern), "the squares add up to ", squares, ", more than 1");
  double a = 0;
  if (1 - squares < 1e-7)  // half a turn: a would be rounding error
    b /= std::sqrt(squares), c /= std::sqrt(squares), d /= std::sqrt(squares);
  else
    a = std::sqrt(1 - squares);
  const double qfac = fields.number(kPixdim) < 0 ? -1 : 1;
  const double step[] = {spacing[0], spacing[1], spacing[2] * qfac};
  const double rotation[3][3] = {{a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
                                 {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
                                 {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c}};
  Affine affine;
  for (size_t i = 0; i < 3; i++) {
    for (size_t j = 0; j < 3; j++) affine[i][j] = rotation[i][j] * step[j];
    affine[i][3] = qoffset[i];
  }
  return affine;
}

double millimetres_per_unit(const HeaderFields& fields) {
  constexpr double millimetres[] = {1, 1000, 1, 0.001};  // unknown, metre, millimetre, micrometre
  const int units = fields.get<uint8_t>(kXyztUnits), length = units & 7;
  if (length > 3) fields.refuse("xyzt_units", text(units), "there is no unit of length with number ", length);
  return millimetres[length];
}

// spacing, origin and direction in mm and LPS.
void read_geometry(const HeaderFields& fields, NiftiHeader& header) {
  Affine affine{};
  for (size_t i = 0; i < 3; i++) affine[i][i] = (i < 2 ? -1 : 1) * header.spacing[i];
  if (fields.get<int16_t>(kSformCode) > 0)
    affine = from_srow(fields);
  else if (fields.get<int16_t>(kQformCode) > 0)
    affine = from_quatern(fields, header.spacing);
  const double unit = millimetres_per_unit(fields);
  const auto lps = [&](size_t i, size_t j) { return i < 2 ? 0 - affine[i][j] : 0 + affine[i][j]; };  // never -0
  const size_t n = header.dims.size();
  header.origin.assign(n, 0.0);
  header.direction.assign(n * n, 0.0);
  for (size_t j = 3; j < n; j++) header.direction[j * n + j] = 1;
  for (size_t i = 0; i < 3; i++) header.origin[i] = unit * lps(i, 3);
  for (size_t j = 0; j < 3; j++) {
    const double length = std::hypot(affine[0][j], affine[1][j], affine[2][j]);
    if (!(length > 0)) fields.refuse("srow", joined(fields.numbers(kSrow, 12)), "column ", j + 1, " is zero");
    header.spacing[j] = unit * length;
    for (size_t i = 0; i < 3; i++) header.direction[j * n + i] = lps(i, j) / length;
  }
}

NiftiHeader parse_header(const std::string& path, const HeaderBytes& bytes) {
  NiftiHeader header;
  header.path = path;
  HeaderFields fields{path, bytes};
  check_kind(fields);
  header.big_endian = kNativeBigEndian != fields.swapped;
  read_types(fields, header);
  read_dims(fields, header);
  read_geometry(fields, header);
  check_image(header, path, kImageKeys);
  const double offset = fields.number(kVoxOffset);
  if (!(offset >= kMinOffset && offset < 1e15 && offset == std::trunc(offset)))
    fields.refuse("vox_offset", shortest(offset), "must be a whole number, at least ", kMinOffset);
  header.vox_offset = int64_t(offset);
  return header;
}

// Converts `count` stored numbers to the doubles that they represent.
void scale(const NiftiHeader& header, const std::byte* from, int64_t count, std::byte* to) {
  with_type(header.stored, [&](auto value) {
    for (int64_t i = 0; i < count; i++) {
      std::memcpy(&value, from + i * int64_t(sizeof value), sizeof value);
      const double scaled = double(value) * header.slope + header.inter;
      std::memcpy(to + i * int64_t(sizeof scaled), &scaled, sizeof scaled);
    }
  });
}

// ---- writing

HeaderBytes make_header(const std::string& path, const ImageInfo& info) {
  const size_t n = info.dims.size();
  if (n > 7) fail("cannot write ", path, ": ", n, " dimensions; NIfTI has at most 7");
  if (info.channels != 1)
    fail("cannot write ", path, ": ", info.channels, " values per voxel; NIfTI files are written with one");
  for (int64_t d : info.dims)
    if (d > INT16_MAX)
      fail("cannot write ", path, ": dims = ", joined({info.dims.begin(), info.dims.end()}),
           ": sizes in NIfTI are at most ", INT16_MAX);
  for (size_t j = 0; j < n; j++)
    for (size_t i = 0; i < n; i++)
      if ((j >= 3 || i >= 3) && info.direction[j * n + i] != double(i == j))
        fail("cannot write ", path, ": direction = ", joined(info.direction),
             ": in NIfTI only the first three axes can be rotated");
  for (size_t i = 3; i < n; i++)
    if (info.origin[i] != 0)
      fail("cannot write ", path, ": origin = ", joined(info.origin), ": must be 0 beyond the third dimension");

  HeaderBytes bytes{};
  const auto put = [&](size_t offset, size_t i, auto value) {
    std::memcpy(&bytes[offset + i * sizeof value], &value, sizeof value);
  };
  put(kSizeofHdr, 0, int32_t(kHeaderSize));
  put(kDim, 0, int16_t(n));
  put(kPixdim, 0, 1.f);
  for (size_t i = 0; i < 7; i++) {
    put(kDim, i + 1, int16_t(i < n ? info.dims[i] : 1));
    put(kPixdim, i + 1, i < n ? float(info.spacing[i]) : 1.f);
  }
  put(kDatatype, 0, int16_t(std::ranges::find(kDatatypes, info.type, &Datatype::type)->code));
  put(kBitpix, 0, int16_t(8 * size_of(info.type)));
  put(kVoxOffset, 0, float(kMinOffset));
  put(kSclSlope, 0, 1.f);
  put(kXyztUnits, 0, uint8_t(2));
  put(kSformCode, 0, int16_t(1));
  for (size_t i = 0; i < 3; i++) {
    const double sign = i < 2 ? -1 : 1;  // LPS to RAS
    for (size_t j = 0; j < 3; j++) {
      const double along = i < n && j < n ? info.direction[j * n + i] * info.spacing[j] : double(i == j);
      put(kSrow, i * 4 + j, float(0 + sign * along));
    }
    put(kSrow, i * 4 + 3, float(i < n ? 0 + sign * info.origin[i] : 0));
  }
  std::memcpy(&bytes[kMagic], "n+1", 4);
  // What overflows a float is refused as it would be on reading, and so is what a float cannot represent precisely
  // enough, such as a spacing of 1e-40 mm.
  const NiftiHeader again = parse_header(path, bytes);
  for (size_t j = 0; j < std::min<size_t>(n, 3); j++)
    for (size_t i = 0; i < std::min<size_t>(n, 3); i++) {
      const double step = info.direction[j * n + i] * info.spacing[j];
      const double stored = again.direction[j * again.dims.size() + i] * again.spacing[j];
      if (!(std::abs(stored - step) < 1e-5 * again.spacing[j]))
        fail("cannot write ", path, ": spacing = ", joined(info.spacing), ", direction = ", joined(info.direction),
             ": NIfTI's floats are too coarse for that");
    }
  return bytes;
}

}  // namespace

NiftiHeader read_nifti_header(const std::string& path) {
  NiftiFile from(path);
  HeaderBytes bytes;
  const int64_t max_size = from.bytes.max_size();
  if (from.bytes.read(bytes.data(), kHeaderSize) < kHeaderSize)
    fail(path, ": not a NIfTI file: it is shorter than the header of ", kHeaderSize, " bytes");
  const NiftiHeader header = parse_header(path, bytes);
  const int64_t value_bytes = header.values() * size_of(header.stored);
  if (value_bytes > max_size - header.vox_offset)
    fail(path, ": dim = ", joined({header.dims.begin(), header.dims.end()}), ": ", value_bytes,
         " bytes of values from byte ", header.vox_offset, " on cannot come from a file of ", from.file.size(),
         is_gzip(from.file) ? " compressed" : "", " bytes");
  return header;
}

template <class T>
void read_values(const NiftiHeader& header, std::vector<T>& to) {
  constexpr bool as_bytes = std::is_same_v<T, std::byte>;
  const int64_t count = header.values(), size = size_of(header.stored);
  NiftiFile from(header.path);
  // Appends the next n stored values.
  const auto append = [&](auto& values, int64_t n) {
    const size_t before = values.size();
    if (const int64_t found = from.bytes.append(values, n * size); found < n * size)
      fail(header.path, ": the file ends ", n * size - found, " bytes early");
    if (header.big_endian != kNativeBigEndian) swap_bytes(values.data() + before, n, size);
  };
  from.bytes.skip(header.vox_offset);
  reserve_memory(to, as_bytes ? header.bytes() : count, header.path);
  if (!header.scaled() && (as_bytes || header.stored == element_type<T>)) {
    append(to, count);
  } else {
    std::vector<std::byte> chunk, scaled(kChunk * sizeof(double));
    to.resize(as_bytes ? header.bytes() : count);
    for (int64_t first = 0; first < count; first += kChunk) {
      const int64_t n = std::min(kChunk, count - first);
      chunk.clear();
      append(chunk, n);
      if (header.scaled()) scale(header, chunk.data(), n, scaled.data());
      if constexpr (as_bytes)
        std::memcpy(to.data() + first * sizeof(double), scaled.data(), n * sizeof(double));
      else
        convert(header.path, header.type, (header.scaled() ? scaled : chunk).data(), first, n, to.data() + first);
    }
  }
  std::byte after;  // bytes after the values are ignored; if there are none, this verifies gzip's checksum
  from.bytes.read(&after, 1);
}

template void read_values(const NiftiHeader&, std::vector<std::byte>&);
template void read_values(const NiftiHeader&, std::vector<int16_t>&);
template void read_values(const NiftiHeader&, std::vector<uint8_t>&);
template void read_values(const NiftiHeader&, std::vector<float>&);

Image read_nifti(const std::string& path) {
  const NiftiHeader header = read_nifti_header(path);
  Image image{header, {}};
  read_values(header, image.data);
  return image;
}

void write_nifti(const std::string& path, const Image& image) {
  check_image(image, path);
  write_nifti(path, image, image.data.data());
}

void write_nifti(const std::string& path, const ImageInfo& info, const std::byte* data) {
  check_image(info, path);
  const bool compressed = path.ends_with(".nii.gz");
  if (!compressed && !path.ends_with(".nii")) fail("cannot write ", path, ": the name must end in .nii or .nii.gz");
  const HeaderBytes header = make_header(path, info);
  const std::byte no_extension[kMinOffset - kHeaderSize] = {};
  const std::vector<Bytes> parts{
      {header.data(), kHeaderSize}, {no_extension, sizeof no_extension}, {data, info.bytes()}};
  AtomicFile file(path);
  if (compressed)  // level 1, as for MetaImage: the noise of CT hardly compresses
    deflate_parts(parts, Wrapper::gzip, 1, [&](const std::byte* chunk, int64_t size) { file.write(chunk, size); });
  else
    for (const Bytes& part : parts) file.write(part.data, part.size);
  file.commit();
}

}  // namespace acinus
