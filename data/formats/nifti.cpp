#include "data/formats/nifti.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kMinOffset = 352;
constexpr ImageKeys kImageKeys{"dim[0]", "channels", "dim", "pixdim", "offset", "axes"};

// The header (nifti1.h), in the byte order in which sizeof_hdr reads 348, with the values that we write in every file.
struct Fields {
  int32_t sizeof_hdr = 348;
  std::byte unused_4[36] = {};
  int16_t dim[8] = {0, 1, 1, 1, 1, 1, 1, 1};  // how many dimensions, 1 to 7, then their sizes, x fastest
  std::byte unused_56[14] = {};
  int16_t datatype = 0;  // see kDatatypes
  int16_t bitpix = 0;    // bits of one value
  std::byte unused_74[2] = {};
  float pixdim[8] = {1, 1, 1, 1, 1, 1, 1, 1};  // qfac (see quatern), then the spacing along each dimension
  float vox_offset = kMinOffset;               // where the values begin, 352 or more
  float scl_slope = 1, scl_inter = 0;  // value = scl_slope * stored + scl_inter; a slope of 0 (or NaN): value = stored
  std::byte unused_120[3] = {};
  uint8_t xyzt_units = 2;  // its lower three bits: 1 metre, 2 millimetre, 3 micrometre, 0 unknown
  std::byte unused_124[128] = {};
  int16_t qform_code = 0;  // above 0: quatern and qoffset say where voxels lie
  int16_t sform_code = 1;  // above 0: srow says it, and takes precedence
  float quatern[3] = {};   // b, c, d of a unit quaternion a + bi + cj + dk: the rotation of the axes; the third axis is
                           // reversed if qfac is negative
  float qoffset[3] = {};   // centre of the first voxel
  float srow[12] = {};     // three rows: (x, y, z) = srow * (i, j, k, 1)
  std::byte unused_328[16] = {};
  char magic[4] = "n+1";
  // Then follow four bytes. If the first is not 0, data of other programs follow, up to vox_offset; they are skipped.
};
static_assert(sizeof(Fields) == 348);

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

bool is_gzip(const InputFile& file) {
  unsigned char start[2] = {};
  file.read(0, start, std::min<int64_t>(2, file.size()));
  return start[0] == 0x1f && start[1] == 0x8b;
}

struct NiftiFile {
  InputFile file;
  ByteSource bytes;  // as they are without gzip

  explicit NiftiFile(const std::string& path)
      : file(path),
        bytes(file, 0, file.size(), is_gzip(file) ? ByteSource::deflated : ByteSource::stored, path + ": ") {}
};

// ---- reading the header

[[noreturn]] void refuse(const std::string& path, const char* field, const auto& value, const auto&... why) {
  fail(path, ": ", field, " = ", value, ": ", why...);
}

void check_finite(const std::string& path, const char* field, std::span<const float> values) {
  if (!std::ranges::all_of(values, [](float x) { return std::isfinite(x); }))
    refuse(path, field, joined(values), "must be finite");
}

template <class... T>
void swap_each(T&... fields) {
  const auto swap = [](void* field, size_t bytes, size_t size) { swap_bytes(field, bytes / size, size); };
  (swap(&fields, sizeof(T), sizeof(std::remove_all_extents_t<T>)), ...);
}

// Refuses everything but NIfTI-1 in one file; finds the byte order.
void check_kind(Fields& f, NiftiHeader& header) {
  const int32_t swapped = __builtin_bswap32(f.sizeof_hdr);
  const bool other_order = swapped == 348 || swapped == 540;
  header.big_endian = kNativeBigEndian != other_order;
  if (other_order)
    swap_each(f.sizeof_hdr, f.dim, f.datatype, f.bitpix, f.pixdim, f.vox_offset, f.scl_slope, f.scl_inter, f.qform_code,
              f.sform_code, f.quatern, f.qoffset, f.srow);
  if (f.sizeof_hdr == 540)
    refuse(header.path, "sizeof_hdr", 540, "this is NIfTI-2, which is not supported; convert it to NIfTI-1");
  if (f.sizeof_hdr != 348) refuse(header.path, "sizeof_hdr", f.sizeof_hdr, "must be 348: not a NIfTI-1 file");
  const std::string magic(f.magic, 4);
  if (magic == std::string("ni1\0", 4))
    refuse(header.path, "magic", "ni1", "the values are in an .img file; convert the pair to one .nii file");
  if (magic != std::string("n+1\0", 4))
    refuse(header.path, "magic", "'" + shown(magic) + "'",
           "must be n+1; without it the file may be Analyze, which is not supported");
}

void read_types(const Fields& f, NiftiHeader& header) {
  const auto known = std::ranges::find(kDatatypes, f.datatype, &Datatype::code);
  if (known == std::end(kDatatypes)) {
    const auto* other = std::ranges::find(kUnsupported, f.datatype, &std::pair<int, const char*>::first);
    refuse(header.path, "datatype", f.datatype, "values are ",
           other == std::end(kUnsupported) ? "unknown" : other->second,
           "; only integers of 8 to 64 bits, float32 and float64 are supported");
  }
  header.stored = known->type;
  if (f.bitpix != 8 * size_of(header.stored))
    refuse(header.path, "bitpix", f.bitpix, "datatype = ", f.datatype, " has ", 8 * size_of(header.stored), " bits");

  if (f.scl_slope != 0 && !std::isnan(f.scl_slope)) {
    check_finite(header.path, "scl_slope", {&f.scl_slope, 1});
    check_finite(header.path, "scl_inter", {&f.scl_inter, 1});
    header.slope = f.scl_slope, header.inter = f.scl_inter;
  }
  header.type = header.scaled() ? ElementType::f64 : header.stored;
}

// dims and spacing in the file's unit.
void read_dims(const Fields& f, NiftiHeader& header) {
  const int n = f.dim[0];
  if (n < 1 || n > 7) refuse(header.path, "dim[0]", n, "must be 1 to 7");
  const auto sizes = std::span(f.dim).subspan(1, n);
  const auto pixdims = std::span(f.pixdim).subspan(1, n);
  if (std::ranges::min(sizes) < 1) refuse(header.path, "dim", joined(sizes), "each size must be at least 1");
  for (int i = 0; i < std::max(n, 3); i++) {
    // Dimensions that the file lacks need no spacing, and many files omit the time between volumes.
    const double spacing = i >= n || (i >= 3 && pixdims[i] == 0) ? 1 : double(pixdims[i]);
    if (!std::isfinite(spacing) || spacing <= 0)
      refuse(header.path, "pixdim", joined(pixdims), "each spacing must be finite and above 0");
    header.dims.push_back(i < n ? sizes[i] : 1), header.spacing.push_back(spacing);
  }
  while (header.dims.size() > 3 && header.dims.back() == 1) header.dims.pop_back(), header.spacing.pop_back();
}

// Columns 0 to 2: the step from one voxel to the next along each index axis; column 3: the first voxel. In RAS and the
// file's unit, as in the header.
using Affine = std::array<std::array<double, 4>, 3>;

Affine from_quatern(const Fields& f, const NiftiHeader& header) {
  check_finite(header.path, "quatern", f.quatern);
  check_finite(header.path, "qoffset", f.qoffset);
  check_finite(header.path, "pixdim[0]", {f.pixdim, 1});
  double a = 0, b = f.quatern[0], c = f.quatern[1], d = f.quatern[2];
  const double squares = b * b + c * c + d * d;
  if (squares > 1 + 1e-5)
    refuse(header.path, "quatern", joined(f.quatern), "the squares add up to ", squares, ", more than 1");
  if (1 - squares < 1e-7)  // half a turn: a would be rounding error
    b /= std::sqrt(squares), c /= std::sqrt(squares), d /= std::sqrt(squares);
  else
    a = std::sqrt(1 - squares);
  const double qfac = f.pixdim[0] < 0 ? -1 : 1;
  const double step[] = {header.spacing[0], header.spacing[1], header.spacing[2] * qfac};
  const double rotation[3][3] = {{a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
                                 {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
                                 {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c}};
  Affine affine;
  for (size_t i = 0; i < 3; i++) {
    for (size_t j = 0; j < 3; j++) affine[i][j] = rotation[i][j] * step[j];
    affine[i][3] = f.qoffset[i];
  }
  return affine;
}

double millimetres_per_unit(const Fields& f, const std::string& path) {
  constexpr double millimetres[] = {1, 1000, 1, 0.001};  // unknown, metre, millimetre, micrometre
  const int length = f.xyzt_units & 7;
  if (length > 3)
    refuse(path, "xyzt_units", int(f.xyzt_units), "its code for the unit of length, ", length,
           ", is not 1 (m), 2 (mm) or 3 (µm)");
  return millimetres[length];
}

// spacing, origin and direction in mm and LPS.
void read_geometry(const Fields& f, NiftiHeader& header) {
  Affine affine{};
  for (size_t i = 0; i < 3; i++) affine[i][i] = (i < 2 ? -1 : 1) * header.spacing[i];
  if (f.sform_code > 0) {
    check_finite(header.path, "srow", f.srow);
    for (size_t i = 0; i < 12; i++) affine[i / 4][i % 4] = f.srow[i];
  } else if (f.qform_code > 0) {
    affine = from_quatern(f, header);
  }
  const double unit = millimetres_per_unit(f, header.path);
  const auto lps = [&](size_t i, size_t j) { return i < 2 ? 0 - affine[i][j] : 0 + affine[i][j]; };  // never -0
  const size_t n = header.dims.size();
  header.origin.assign(n, 0.0);
  header.direction.assign(n * n, 0.0);
  for (size_t j = 3; j < n; j++) header.direction[j * n + j] = 1;
  for (size_t i = 0; i < 3; i++) header.origin[i] = unit * lps(i, 3);
  for (size_t j = 0; j < 3; j++) {
    const double length = std::hypot(affine[0][j], affine[1][j], affine[2][j]);
    if (!(length > 0)) refuse(header.path, "srow", joined(f.srow), "column ", j + 1, " is zero");
    header.spacing[j] = unit * length;
    for (size_t i = 0; i < 3; i++) header.direction[j * n + i] = lps(i, j) / length;
  }
}

NiftiHeader parse_header(const std::string& path, Fields f) {
  NiftiHeader header;
  header.path = path;
  check_kind(f, header);
  read_types(f, header);
  read_dims(f, header);
  read_geometry(f, header);
  check_image(header, path, kImageKeys);
  if (!(f.vox_offset >= kMinOffset && f.vox_offset < 1e15f && f.vox_offset == std::trunc(f.vox_offset)))
    refuse(path, "vox_offset", shortest(f.vox_offset), "must be a whole number, at least ", kMinOffset);
  header.vox_offset = int64_t(f.vox_offset);
  return header;
}

// ---- writing

Fields make_header(const std::string& path, const ImageInfo& info) {
  const size_t n = info.dims.size();
  const auto refuse = [&](const auto&... why) { fail("cannot write ", path, ": ", why...); };
  if (n > 7) refuse(n, " dimensions; NIfTI has at most 7");
  if (info.channels != 1) refuse(info.channels, " values per voxel; NIfTI files are written with one");
  if (std::ranges::max(info.dims) > INT16_MAX)
    refuse("dims = ", joined(info.dims), ": sizes in NIfTI are at most ", INT16_MAX);
  for (size_t j = 0; j < n; j++)
    for (size_t i = 0; i < n; i++)
      if ((j >= 3 || i >= 3) && info.direction[j * n + i] != double(i == j))
        refuse("direction = ", joined(info.direction), ": in NIfTI only the first three axes can be rotated");
  for (size_t i = 3; i < n; i++)
    if (info.origin[i] != 0) refuse("origin = ", joined(info.origin), ": must be 0 beyond the third dimension");

  Fields f;
  f.dim[0] = int16_t(n);
  f.datatype = int16_t(std::ranges::find(kDatatypes, info.type, &Datatype::type)->code);
  f.bitpix = int16_t(8 * size_of(info.type));
  std::ranges::transform(info.dims, f.dim + 1, [](int64_t size) { return int16_t(size); });
  std::ranges::transform(info.spacing, f.pixdim + 1, [](double mm) { return float(mm); });
  for (size_t i = 0; i < 3; i++) {
    const double sign = i < 2 ? -1 : 1;  // LPS to RAS
    for (size_t j = 0; j < 3; j++) {
      const double along = i < n && j < n ? info.direction[j * n + i] * info.spacing[j] : double(i == j);
      f.srow[i * 4 + j] = float(0 + sign * along);
    }
    f.srow[i * 4 + 3] = float(i < n ? 0 + sign * info.origin[i] : 0);
  }
  // What overflows a float is refused as it would be on reading, and so is what a float cannot represent precisely
  // enough, such as a spacing of 1e-40 mm.
  const NiftiHeader again = parse_header(path, f);
  for (size_t j = 0; j < std::min<size_t>(n, 3); j++)
    for (size_t i = 0; i < std::min<size_t>(n, 3); i++) {
      const double step = info.direction[j * n + i] * info.spacing[j];
      const double stored = again.direction[j * again.dims.size() + i] * again.spacing[j];
      if (!(std::abs(stored - step) < 1e-5 * again.spacing[j]))
        refuse("spacing = ", joined(info.spacing), ", direction = ", joined(info.direction),
               ": NIfTI's floats are too coarse for that");
    }
  return f;
}

}  // namespace

NiftiHeader read_nifti_header(const std::string& path) {
  NiftiFile from(path);
  Fields fields;
  const int64_t max_size = from.bytes.max_size();
  if (from.bytes.read(&fields, sizeof fields) < int64_t(sizeof fields))
    fail(path, ": not a NIfTI file: it is shorter than the header of ", sizeof fields, " bytes");
  const NiftiHeader header = parse_header(path, fields);
  const int64_t value_bytes = header.values() * size_of(header.stored);
  if (value_bytes > max_size - header.vox_offset)
    fail(path, ": dim = ", joined(header.dims), ": ", value_bytes, " bytes of values from byte ", header.vox_offset,
         " on cannot come from a file of ", from.file.size(), is_gzip(from.file) ? " compressed" : "", " bytes");
  return header;
}

void read_values(const NiftiHeader& header, const ByteSink& sink) {
  NiftiFile from(header.path);
  std::vector<double> scaled;
  const auto scale_and_pass = [&](Bytes chunk) {
    with_type(header.stored, [&](auto value) {
      scaled.resize(chunk.size() / sizeof value);
      for (size_t i = 0; i < scaled.size(); i++) {
        std::memcpy(&value, &chunk[i * sizeof value], sizeof value);
        scaled[i] = double(value) * header.slope + header.inter;
      }
    });
    sink(std::as_bytes(std::span(scaled)));
  };
  from.bytes.skip(header.vox_offset);
  const int64_t size = size_of(header.stored), bytes = header.values() * size;
  const int64_t found =
      from.bytes.values(header.values(), size, header.big_endian, header.scaled() ? ByteSink(scale_and_pass) : sink);
  if (found < bytes) fail(header.path, ": the file ends ", bytes - found, " bytes early");
  std::byte after;  // bytes after the values are ignored; if there are none, this verifies gzip's checksum
  from.bytes.read(&after, 1);
}

Image read_nifti(const std::string& path) {
  const NiftiHeader header = read_nifti_header(path);
  Image image{header, {}};
  reserve_memory(image.data, image.bytes(), path);
  read_values(header, [&](Bytes chunk) { image.data.insert(image.data.end(), chunk.begin(), chunk.end()); });
  return image;
}

void write_nifti(const std::string& path, const ImageInfo& info, Bytes data) {
  check_image(info, data, path);
  const bool compressed = path.ends_with(".nii.gz");
  if (!compressed && !path.ends_with(".nii")) fail("cannot write ", path, ": the name must end in .nii or .nii.gz");
  const Fields header = make_header(path, info);
  constexpr std::byte no_extension[kMinOffset - sizeof header] = {};
  const std::vector<Bytes> parts{std::as_bytes(std::span(&header, 1)), no_extension, data};
  AtomicFile file(path);
  const auto write = [&](Bytes part) { file.write(part.data(), int64_t(part.size())); };
  if (compressed)
    deflate_parts(parts, Wrapper::gzip, write);
  else
    std::ranges::for_each(parts, write);
  file.commit();
}

}  // namespace acinus
