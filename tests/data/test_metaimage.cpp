// The MetaImage reader and writer on files made here, byte by byte. tests/data/check_metaimage.cpp goes through files
// that other programs wrote.
#include <sys/stat.h>
#include <zlib.h>

#include <bit>
#include <limits>
#include <map>
#include <random>

#include "data/formats/metaimage.h"
#include "data/formats/volume_io.h"
#include "tensor/io/file.h"
#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

// The header of a 4 x 3 x 2 image of shorts. `changes` replaces values, adds keys at the end, and leaves out those
// set to "-".
std::string header(const Keys& changes = {}, const std::string& line_end = "\n") {
  Keys keys{{"ObjectType", "Image"},     {"NDims", "3"},
            {"BinaryData", "True"},      {"BinaryDataByteOrderMSB", "False"},
            {"CompressedData", "False"}, {"TransformMatrix", "1 0 0 0 1 0 0 0 1"},
            {"Offset", "-10.5 20 30"},   {"ElementSpacing", "0.5 0.75 2"},
            {"DimSize", "4 3 2"},        {"ElementType", "MET_SHORT"}};
  std::string data_file = "LOCAL", result;
  for (const auto& [key, value] : changes) {
    const auto found = std::find_if(keys.begin(), keys.end(), [key = key](const auto& k) { return k.first == key; });
    if (key == "ElementDataFile")
      data_file = value;
    else if (found != keys.end())
      found->second = value;
    else
      keys.emplace_back(key, value);
  }
  keys.emplace_back("ElementDataFile", data_file);
  for (const auto& [key, value] : keys)
    if (value != "-") result += key + " = " + value + line_end;
  return result;
}

const std::vector<int16_t> kShorts{-1024, 0,  400, 3071, -2048, 7,   8,   9,   10,  11,  12,    13,
                                   -5,    -6, -7,  -8,   100,   200, 300, 400, 500, 600, 32767, -32768};

std::string bytes_of(const void* data, size_t size, size_t element, bool big_endian) {
  std::string bytes(static_cast<const char*>(data), size);
  if (big_endian != (std::endian::native == std::endian::big))
    for (size_t at = 0; at < size; at += element)
      std::reverse(bytes.begin() + long(at), bytes.begin() + long(at + element));
  return bytes;
}

const std::string kRaw = bytes_of(kShorts.data(), 48, 2, false);

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string result(size, '\0');
  REQUIRE(compress(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                   bytes.size()) == Z_OK);
  result.resize(size);
  return result;
}

std::vector<int16_t> shorts_of(const MetaImage& image) {
  std::vector<int16_t> result(image.data.size() / 2);
  std::memcpy(result.data(), image.data.data(), image.data.size());
  return result;
}

bool equal(const MetaImage& a, const MetaImage& b) {
  return a.type == b.type && a.channels == b.channels && a.dims == b.dims && a.spacing == b.spacing &&
         a.origin == b.origin && a.direction == b.direction && a.extra == b.extra && a.data == b.data;
}

const ElementType kAllTypes[] = {ElementType::i8,  ElementType::u8,  ElementType::i16, ElementType::u16,
                                 ElementType::i32, ElementType::u32, ElementType::i64, ElementType::u64,
                                 ElementType::f32, ElementType::f64};

}  // namespace

TEST_CASE("metaimage: every type, byte order, compression and form comes back the same") {
  const Scratch folder;
  for (ElementType type : kAllTypes)
    for (bool big_endian : {false, true})
      for (bool compressed : {false, true})
        for (bool local : {false, true})
          for (int channels : {1, 3}) {
            CAPTURE(name_of(type), big_endian, compressed, local, channels);
            MetaImage image;
            image.type = type, image.channels = channels;
            image.dims = {5, 2, 3};
            image.spacing = {0.7, 0.1, 2.5}, image.origin = {-195.25, 1e-7, 1.0 / 3};
            image.direction = {0, 1, 0, 0, 0, -1, 1, 0, 0};
            image.data.resize(size_t(image.bytes()));
            with_type(type, [&](auto value) {
              using Limits = std::numeric_limits<decltype(value)>;
              const decltype(value) values[] = {Limits::lowest(), Limits::max(), Limits::min(), 0, 1, 2, 3, 77};
              for (size_t i = 0; i < image.data.size() / sizeof value; i++)
                std::memcpy(&image.data[i * sizeof value], &values[i % 8], sizeof value);
            });

            std::string bytes = bytes_of(image.data.data(), image.data.size(), size_t(size_of(type)), big_endian);
            if (compressed) bytes = deflated(bytes);
            const Keys keys{{"DimSize", "5 2 3"},
                            {"ElementSpacing", "0.7 0.1 2.5"},
                            {"Offset", "-195.25 1e-7 0.3333333333333333"},
                            {"TransformMatrix", "0 1 0 0 0 -1 1 0 0"},
                            {"ElementType", metaimage_name_of(type)},
                            {"ElementNumberOfChannels", std::to_string(channels)},
                            {"BinaryDataByteOrderMSB", big_endian ? "True" : "False"},
                            {"CompressedData", compressed ? "True" : "False"},
                            {"CompressedDataSize", compressed && local ? std::to_string(bytes.size()) : "-"},
                            {"ElementDataFile", local ? "LOCAL" : "made.bin"}};
            put(folder / "made.bin", bytes);
            put(folder / "made.mhd", header(keys) + (local ? bytes : ""));
            REQUIRE(equal(read_metaimage(folder / "made.mhd"), image));

            const std::string written = folder / (local ? "written.mha" : "written.mhd");
            write_metaimage(written, image, image.data, compressed);
            REQUIRE(equal(read_metaimage(written), image));
          }
}

TEST_CASE("metaimage: names of types") {
  const Scratch folder;
  const std::map<std::string, ElementType> types{
      {"MET_LONG", ElementType::i32}, {"MET_ULONG", ElementType::u32}, {"MET_FLOAT_ARRAY", ElementType::f32}};
  for (const auto& [name, type] : types) {
    put(folder / "x.mha", header({{"ElementType", name}}) + std::string(96, 'x'));
    REQUIRE(read_metaimage(folder / "x.mha").type == type);
  }
}

TEST_CASE("metaimage: a volume is written with LUNA16's header") {
  const Scratch folder;
  Volume<int16_t> ct;
  ct.grid = {{4, 3, 2}, {0.76171898841857910, 0.7, 2.5}, {-195, 170.5, -378}, {{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}}};
  ct.voxels = kShorts;
  write_volume(folder / "1.2.3.mhd", ct);
  REQUIRE(read_file(folder / "1.2.3.raw", 100) == kRaw);
  REQUIRE(read_file(folder / "1.2.3.mhd", 1000) ==
          "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
          "TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = -195 170.5 -378\nCenterOfRotation = 0 0 0\n"
          "AnatomicalOrientation = LPI\nElementSpacing = 0.7617189884185791 0.7 2.5\nDimSize = 4 3 2\n"
          "ElementType = MET_SHORT\nElementDataFile = 1.2.3.raw\n");
  const Volume<int16_t> again = read_volume<int16_t>(folder / "1.2.3.mhd");
  REQUIRE(again.grid == ct.grid);
  REQUIRE(again.voxels == ct.voxels);

  write_volume(folder / "1.2.3.mhd", ct, true);
  const MetaHeader read = read_metaimage_header(folder / "1.2.3.mhd");
  REQUIRE(read.compressed);
  REQUIRE(read.compressed_size == int64_t(fs::file_size(folder / "1.2.3.zraw")));
  REQUIRE(read_volume<int16_t>(folder / "1.2.3.mhd").voxels == ct.voxels);
  for (const auto& entry : fs::directory_iterator(folder.path))
    REQUIRE(entry.path().string().find(".tmp") == std::string::npos);
}

TEST_CASE("metaimage: where voxels lie, for flipped, turned and oblique axes") {
  const Scratch folder;
  // Row i of the matrix is the direction of index axis i: for (i, j, k) = (1, 2, 1) and spacing 0.5 0.75 2
  // the position is Offset + 0.5 row0 + 1.5 row1 + 2 row2.
  const std::map<std::string, Vec3> positions{{"1 0 0 0 1 0 0 0 1", {-10, 21.5, 32}},
                                              {"-1 0 0 0 -1 0 0 0 1", {-11, 18.5, 32}},
                                              {"0 1 0 0 0 1 1 0 0", {-8.5, 20.5, 31.5}},
                                              {"0.8 0.6 0 -0.6 0.8 0 0 0 1", {-11, 21.5, 32}}};
  for (const auto& [matrix, position] : positions) {
    CAPTURE(matrix);
    put(folder / "x.mha", header({{"TransformMatrix", matrix}}) + kRaw);
    const Grid grid = read_volume<int16_t>(folder / "x.mha").grid;
    for (int i = 0; i < 3; i++) {
      REQUIRE(grid.to_world({1, 2, 1})[i] == Approx(position[i]));
      REQUIRE(grid.to_voxel(position)[i] == Approx(Vec3{1, 2, 1}[i]));
    }
    Volume<uint8_t> mask(grid);
    write_volume(folder / "mask.mha", mask, true);
    REQUIRE(read_volume<uint8_t>(folder / "mask.mha").grid == grid);
  }
}

TEST_CASE("metaimage: two and four dimensions") {
  const Scratch folder;
  const Keys flat{{"NDims", "2"},
                  {"DimSize", "6 4"},
                  {"ElementSpacing", "0.5 0.75"},
                  {"Offset", "1 2"},
                  {"TransformMatrix", "0 1 -1 0"}};
  put(folder / "flat.mha", header(flat) + kRaw);
  REQUIRE(read_metaimage(folder / "flat.mha").dims == std::vector<int64_t>{6, 4});
  const Volume<int16_t> slice = read_volume<int16_t>(folder / "flat.mha");
  REQUIRE(slice.grid == Grid{{6, 4, 1}, {0.5, 0.75, 1}, {1, 2, 0}, {{{0, 1, 0}, {-1, 0, 0}, {0, 0, 1}}}});
  REQUIRE(slice.voxels == kShorts);

  const Keys deep{
      {"NDims", "4"}, {"DimSize", "2 2 3 2"}, {"ElementSpacing", "1 1 1 5"}, {"Offset", "-"}, {"TransformMatrix", "-"}};
  put(folder / "deep.mha", header(deep) + kRaw);
  const MetaImage image = read_metaimage(folder / "deep.mha");
  REQUIRE(shorts_of(image) == kShorts);
  write_metaimage(folder / "again.mhd", image, image.data, false, image.extra);
  REQUIRE(equal(read_metaimage(folder / "again.mhd"), image));
  REQUIRE(read_slices(read_metaimage_header(folder / "deep.mha"), 1, 2).origin == std::vector<double>{0, 0, 0, 5});
  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(folder / "deep.mha"); }),
               Catch::Contains("deep.mha: has 4 dimensions"));
}

TEST_CASE("metaimage: the least a header needs, aliases, CRLF, keys we do not know") {
  const Scratch folder;
  put(folder / "least.mha", "NDims=3\nDimSize=4 3 2\n\nElementType =MET_SHORT\nElementDataFile= Local\n" + kRaw);
  const MetaImage least = read_metaimage(folder / "least.mha");
  REQUIRE(shorts_of(least) == kShorts);
  REQUIRE(least.spacing == std::vector<double>{1, 1, 1});
  REQUIRE(least.origin == std::vector<double>{0, 0, 0});
  REQUIRE(least.direction == std::vector<double>{1, 0, 0, 0, 1, 0, 0, 0, 1});

  put(folder / "crlf.mha", header({}, "\r\n") + kRaw);
  REQUIRE(shorts_of(read_metaimage(folder / "crlf.mha")) == kShorts);

  for (const char* key : {"Origin", "Position"}) {
    put(folder / "x.mha", header({{"Offset", "-"}, {key, "7 8 +9"}}) + kRaw);
    REQUIRE(read_metaimage(folder / "x.mha").origin == std::vector<double>{7, 8, 9});
  }
  for (const char* key : {"Rotation", "Orientation"}) {
    put(folder / "x.mha", header({{"TransformMatrix", "-"}, {key, "0 1 0 1 0 0 0 0 1"}}) + kRaw);
    REQUIRE(read_metaimage(folder / "x.mha").direction == std::vector<double>{0, 1, 0, 1, 0, 0, 0, 0, 1});
  }
  put(folder / "x.mha", header({{"BinaryDataByteOrderMSB", "-"}, {"ElementByteOrderMSB", "true"}}) + kRaw);
  REQUIRE(shorts_of(read_metaimage(folder / "x.mha"))[0] == 0x00FC);  // -1024 is 0xFC00
  put(folder / "x.mha", header({{"ElementSpacing", "-"}, {"ElementSize", "3 4 5"}}) + kRaw);
  REQUIRE(read_metaimage(folder / "x.mha").spacing == std::vector<double>{3, 4, 5});

  const Keys extra{{"Comment", "a = b"}, {"CenterOfRotation", "1 2 3"}, {"SeriesUID", "1.2.3"}, {"Empty", ""}};
  put(folder / "x.mha", header(extra) + kRaw);
  const MetaImage image = read_metaimage(folder / "x.mha");
  REQUIRE(image.extra == extra);
  write_metaimage(folder / "y.mhd", image, image.data, false, image.extra);
  REQUIRE(equal(read_metaimage(folder / "y.mhd"), image));

  put(folder / "x.mha", header({{"Origin", "0 0 0"}}) + kRaw);
  REQUIRE_THAT(error_of([&] { read_metaimage_header(folder / "x.mha"); }),
               Catch::Contains("x.mha: Origin = 0 0 0: does not agree with Offset"));
  put(folder / "x.mha", "NDims = 2\n" + header() + kRaw);
  REQUIRE_THAT(error_of([&] { read_metaimage_header(folder / "x.mha"); }), Catch::Contains("x.mha: NDims"));
}

TEST_CASE("metaimage: values as text") {
  const Scratch folder;
  std::string numbers;
  for (int16_t v : kShorts) numbers += std::to_string(v) + (v == 9 ? "\r\n" : " ");
  const Keys ascii{{"BinaryData", "False"}};
  put(folder / "x.mha", header(ascii) + numbers);
  REQUIRE(shorts_of(read_metaimage(folder / "x.mha")) == kShorts);
  const MetaImage part = read_slices(read_metaimage_header(folder / "x.mha"), 1, 2);
  REQUIRE(shorts_of(part) == std::vector<int16_t>(kShorts.begin() + 12, kShorts.end()));

  // Longer than the piece that is parsed at a time, so that numbers lie across its ends.
  std::string many;
  for (int i = 0; i < 200000; i++) many += std::to_string(i % 977) + "\n";
  const Keys large{{"BinaryData", "False"}, {"DimSize", "1000 100 2"}, {"ElementType", "MET_FLOAT"}};
  put(folder / "large.mha", header(large) + many);
  const Volume<int16_t> volume = read_volume<int16_t>(folder / "large.mha");
  for (int i = 0; i < 200000; i++)
    if (volume.voxels[size_t(i)] != i % 977) FAIL("value " << i << " is " << volume.voxels[size_t(i)]);

  const std::map<std::string, std::string> wrong{
      {"1 2 3", "DimSize"},        {numbers.substr(0, numbers.size() - 8), "DimSize"},
      {"12.5 " + numbers, "12.5"}, {"40000 " + numbers, "40000"},
      {"0x10 " + numbers, "0x10"}, {std::string(1000, '1') + " " + numbers, "is not a MET_SHORT"}};
  for (const auto& [content, complaint] : wrong) {
    put(folder / "x.mha", header(ascii) + content);
    REQUIRE_THAT(error_of([&] { read_metaimage(folder / "x.mha"); }),
                 Catch::Contains("x.mha: ") && Catch::Contains(complaint));
  }
}

TEST_CASE("metaimage: data files") {
  const Scratch folder;
  fs::create_directory(folder / "sub");
  const auto read = [&](const Keys& keys, const std::string& below = "") {
    put(folder / "x.mhd", header(keys) + below);
    const MetaHeader header = read_metaimage_header(folder / "x.mhd");
    const std::vector<int16_t> all = shorts_of(read_metaimage(folder / "x.mhd"));
    for (int64_t z : {0, 1})  // each slice alone is the same part
      REQUIRE(shorts_of(read_slices(header, z, z + 1)) ==
              std::vector<int16_t>(all.begin() + 12 * z, all.begin() + 12 * (z + 1)));
    return all;
  };
  for (const char* name : {"sub/a.raw", "two words.raw", "50%.raw", "LIST 2.raw"}) {
    CAPTURE(name);
    put(folder / name, kRaw);
    REQUIRE(read({{"ElementDataFile", name}}) == kShorts);
  }
  REQUIRE(read({{"ElementDataFile", folder / "sub/a.raw"}}) == kShorts);

  put(folder / "front.dat", "front" + kRaw + "back");
  REQUIRE(read({{"HeaderSize", "5"}, {"ElementDataFile", "front.dat"}}) == kShorts);
  put(folder / "front.dat", "front" + kRaw);
  REQUIRE(read({{"HeaderSize", "-1"}, {"ElementDataFile", "front.dat"}}) == kShorts);
  REQUIRE(read({{"HeaderSize", "-1"}}, "padding" + kRaw) == kShorts);
  put(folder / "front.dat", "front" + deflated(kRaw));
  const Keys zipped{{"CompressedData", "True"}, {"ElementDataFile", "front.dat"}};
  Keys keys = zipped;
  keys.emplace_back("HeaderSize", "5");
  REQUIRE(read(keys) == kShorts);

  put(folder / "gone.raw.gz", deflated(kRaw));
  REQUIRE(read({{"ElementDataFile", "gone.raw"}}) == kShorts);

  const std::string first = kRaw.substr(0, 24), second = kRaw.substr(24);
  put(folder / "s1.raw", first), put(folder / "s2.raw", second);
  REQUIRE(read({{"ElementDataFile", "LIST"}}, "s1.raw\ns2.raw\n") == kShorts);
  REQUIRE(read({{"ElementDataFile", "LIST 2"}}, "s1.raw\r\ns2.raw") == kShorts);
  REQUIRE(read({{"ElementDataFile", "LIST 3"}}, "sub/a.raw\n") == kShorts);
  for (int i = 0; i < 6; i++) put(folder / text("row", i, ".raw"), kRaw.substr(size_t(i) * 8, 8));
  REQUIRE(read({{"ElementDataFile", "LIST 1"}}, "row0.raw\nrow1.raw\nrow2.raw\nrow3.raw\nrow4.raw\nrow5.raw\n") ==
          kShorts);
  REQUIRE(read({{"ElementDataFile", "s%d.raw"}}) == kShorts);
  REQUIRE(read({{"ElementDataFile", "s%d.raw 1 2 1"}}) == kShorts);
  put(folder / "s010.raw", first), put(folder / "s015.raw", second);
  REQUIRE(read({{"ElementDataFile", "s%03d.raw 10 15 5"}}) == kShorts);
  put(folder / "z1.raw", deflated(first)), put(folder / "z2.raw", deflated(second));
  REQUIRE(read({{"CompressedData", "True"}, {"ElementDataFile", "z%d.raw"}}) == kShorts);

  // Bytes after the data are passed over, in the file and in the stream.
  REQUIRE(read({}, kRaw + "tail") == kShorts);
  REQUIRE(read({{"CompressedData", "True"}}, deflated(kRaw) + "tail") == kShorts);
  REQUIRE(read({{"CompressedData", "True"}}, deflated(kRaw + "tail")) == kShorts);
}

TEST_CASE("metaimage: what a header may not say") {
  const Scratch folder;
  struct Case {
    Keys changes;
    std::string key;  // that the message names
  };
  const Case cases[] = {
      {{{"ObjectType", "Tube"}}, "ObjectType = Tube"},
      {{{"Com\rment", "x"}}, "control characters"},
      {{{"NDims", "-"}}, "NDims"},
      {{{"NDims", "0"}}, "NDims = 0"},
      {{{"NDims", "-3"}}, "NDims = -3"},
      {{{"NDims", "2000000000"}}, "NDims"},
      {{{"NDims", "three"}}, "NDims = three"},
      {{{"DimSize", "-"}}, "DimSize"},
      {{{"DimSize", "4 3"}}, "DimSize = 4 3"},
      {{{"DimSize", "4 3 2 1"}}, "DimSize"},
      {{{"DimSize", "4 -3 2"}}, "DimSize = 4 -3 2"},
      {{{"DimSize", "4 0 2"}}, "DimSize = 4 0 2"},
      {{{"DimSize", "four three two"}}, "'four'"},
      {{{"DimSize", "4.5 3 2"}}, "DimSize"},
      {{{"DimSize", "100000 100000 100000"}}, "DimSize"},
      {{{"DimSize", "4294967296 4294967296 4294967296"}}, "DimSize"},
      {{{"DimSize", "99999999999999999999 1 1"}}, "DimSize"},
      {{{"ElementType", "-"}}, "ElementType"},
      {{{"ElementType", "MET_STRING"}}, "ElementType = MET_STRING"},
      {{{"ElementNumberOfChannels", "0"}}, "ElementNumberOfChannels = 0"},
      {{{"ElementNumberOfChannels", "-1"}}, "ElementNumberOfChannels = -1"},
      {{{"ElementNumberOfChannels", "2147483647"}}, "DimSize"},
      {{{"ElementNumberOfChannels", "99999999999"}}, "ElementNumberOfChannels"},
      {{{"ElementSpacing", "nan 1 1"}}, "ElementSpacing = nan 1 1"},
      {{{"ElementSpacing", "1 inf 1"}}, "ElementSpacing"},
      {{{"ElementSpacing", "1 0 1"}}, "ElementSpacing"},
      {{{"ElementSpacing", "1 -1 1"}}, "ElementSpacing"},
      {{{"ElementSpacing", "one one one"}}, "ElementSpacing"},
      {{{"ElementSpacing", ""}}, "ElementSpacing"},
      {{{"Offset", "inf 0 0"}}, "Offset = inf 0 0"},
      {{{"Offset", "0 0"}}, "Offset = 0 0"},
      {{{"TransformMatrix", "1 0 0 0 1 0"}}, "TransformMatrix"},
      {{{"TransformMatrix", "0 0 0 0 0 0 0 0 0"}}, "TransformMatrix"},
      {{{"TransformMatrix", "1 0 0 1 0 0 0 0 1"}}, "TransformMatrix"},
      {{{"TransformMatrix", "1 0 0 0 nan 0 0 0 1"}}, "TransformMatrix"},
      {{{"BinaryData", "maybe"}}, "BinaryData = maybe"},
      {{{"CompressedData", ""}}, "CompressedData"},
      {{{"HeaderSize", "-2"}}, "HeaderSize = -2"},
      {{{"HeaderSize", "5"}}, "HeaderSize = 5"},  // within the header of a LOCAL file
      {{{"HeaderSize", "9223372036854775807"}}, "DimSize"},
      {{{"CompressedData", "True"}, {"CompressedDataSize", "-5"}}, "CompressedDataSize = -5"},
      {{{"CompressedData", "True"}, {"CompressedDataSize", "1000000000000"}}, "CompressedDataSize"},
      {{{"CompressedData", "True"}, {"HeaderSize", "-1"}}, "HeaderSize = -1"},
      {{{"CompressedData", "True"}, {"DimSize", "1000 1000 10"}},
       "DimSize: 20000000 bytes of values cannot come from 48"},
      {{{"BinaryData", "False"}, {"DimSize", "1000 1000 10"}}, "DimSize: 20000000 bytes of values cannot come from 48"},
      {{{"ElementDataFile", ""}}, "ElementDataFile"},
      {{{"ElementDataFile", "not_there.raw"}}, "ElementDataFile"},
      {{{"ElementDataFile", "."}}, "ElementDataFile"},
      {{{"ElementDataFile", "/dev/zero"}}, "ElementDataFile"},
      {{{"ElementDataFile", "pipe"}}, "ElementDataFile"},
      {{{"ElementDataFile", "x.mha"}}, "ElementDataFile"},
      {{{"ElementDataFile", std::string(100000, 'x')}}, "ElementDataFile"},
      {{{"ElementDataFile", "LIST"}}, "ElementDataFile"},
      {{{"ElementDataFile", "LIST 0"}}, "ElementDataFile = LIST 0"},
      {{{"ElementDataFile", "LIST 4"}}, "ElementDataFile = LIST 4"},
      {{{"ElementDataFile", "nothing_%03d.raw 1 2 1"}}, "nothing_001.raw"},
      {{{"ElementDataFile", "s%d.raw 1 1 0"}}, "ElementDataFile = s%d.raw 1 1 0"},
      {{{"ElementDataFile", "s%d.raw 1 2 -1"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d.raw 2 1 1"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d.raw 1 3 1"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d.raw 9223372036854775807"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d.raw 1 2 1 1"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d.raw one"}}, "'one'"},
      {{{"ElementDataFile", "s%s.raw"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%n%d.raw"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%d%d.raw"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%99999999d.raw"}}, "ElementDataFile"},
      {{{"ElementDataFile", "s%"}}, "ElementDataFile"},
      {{{"ElementDataFile", "%"}}, "ElementDataFile"},
      {{{"no equals sign", "-"}, {"", "x"}}, "line"}};
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  put(folder / "s1.raw", kRaw.substr(24));
  for (const Case& c : cases) {
    CAPTURE(c.changes[0].first, c.changes[0].second);
    put(folder / "x.mha", header(c.changes) + kRaw);
    const std::string message = error_of([&] { read_metaimage(folder / "x.mha"); });
    REQUIRE_THAT(message, Catch::Contains("x.mha: ") && Catch::Contains(c.key));
    REQUIRE(message.size() < 600 + folder.path.string().size() * 2 + c.changes[0].second.size());
  }
  for (const std::string& content :
       {std::string(), std::string("\n\n"), std::string(5000, '\0'), std::string("\x89PNG\r\n"),
        std::string("NDims = 3\n"), std::string(2 << 20, 'a'), std::string(2 << 20, '\n')}) {
    put(folder / "x.mha", content);
    REQUIRE_THAT(error_of([&] { read_metaimage(folder / "x.mha"); }), Catch::Contains("x.mha: "));
  }
  std::string lines;
  for (int i = 0; i < 100000; i++) lines += "a=\n";
  put(folder / "x.mha", lines + header() + kRaw);
  REQUIRE_THAT(error_of([&] { read_metaimage(folder / "x.mha"); }), Catch::Contains("x.mha: more than"));
  for (const char* path : {"", "/dev/zero", "pipe", "gone.mha"})
    REQUIRE_THAT(error_of([&] { read_metaimage(*path == '/' ? path : folder / path); }),
                 Catch::Contains("cannot read"));
}

TEST_CASE("metaimage: short and corrupt data are refused") {
  const Scratch folder;
  const auto error = [&](const Keys& keys, const std::string& data) {
    put(folder / "x.mha", header(keys) + data);
    return error_of([&] { read_metaimage(folder / "x.mha"); });
  };
  const Keys zipped{{"CompressedData", "True"}};
  const std::string stream = deflated(kRaw);
  for (size_t n = 0; n < kRaw.size(); n++)
    REQUIRE_THAT(error({}, kRaw.substr(0, n)), Catch::Contains("x.mha: DimSize"));
  for (size_t n = 0; n < stream.size(); n++)
    REQUIRE_THAT(error(zipped, stream.substr(0, n)), Catch::Contains("x.mha: CompressedData = True: "));
  for (size_t bit = 0; bit < stream.size() * 8; bit++) {  // whichever bit is hit, wrong values are not returned
    std::string corrupt = stream;
    corrupt[bit / 8] = char(corrupt[bit / 8] ^ 1 << bit % 8);
    const std::string message = error(zipped, corrupt);
    CAPTURE(bit, message);
    if (message == "no error")
      REQUIRE(shorts_of(read_metaimage(folder / "x.mha")) == kShorts);
    else
      REQUIRE_THAT(message, Catch::Contains("x.mha: CompressedData = True: "));
  }
  REQUIRE_THAT(error(zipped, deflated(kRaw.substr(1))), Catch::Contains("holds only 47 bytes"));
  Keys shorter = zipped;
  shorter.emplace_back("CompressedDataSize", std::to_string(stream.size() - 1));
  REQUIRE_THAT(error(shorter, stream), Catch::Contains("x.mha: CompressedData = True: "));
}

TEST_CASE("metaimage: no damage to a file ends otherwise than in an image or an Error") {
  const Scratch folder;
  std::mt19937 random(1);
  const std::string text_values = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24";
  const std::string files[] = {header() + kRaw, header({{"CompressedData", "True"}}) + deflated(kRaw),
                               header({{"BinaryData", "False"}}) + text_values,
                               header({{"ElementDataFile", "LIST"}}) + "x.mha\nx.mha\n"};
  int read = 0, refused = 0;
  for (int i = 0; i < 4000; i++) {
    std::string content = files[i % 4];
    for (unsigned edits = 1 + random() % 3; edits > 0; edits--) {
      const size_t at = random() % content.size();
      if (random() % 4 == 0)
        content.erase(at, 1 + random() % 20);
      else if (random() % 3 == 0)
        content.insert(at, std::string(1 + random() % 3, char('0' + random() % 10)));
      else
        content[at] = char(random());
    }
    put(folder / "x.mha", content);
    try {
      const MetaImage image = read_metaimage(folder / "x.mha");
      if (int64_t(image.data.size()) != image.bytes()) FAIL("an image of the wrong size");
      read++;
    } catch (const Error&) {
      refused++;
    }
  }
  REQUIRE(read > 100);
  REQUIRE(refused > 1000);
}

TEST_CASE("metaimage: conversion to the voxels asked for") {
  const Scratch folder;
  const auto make = [&](const char* type, auto... values) {
    const std::vector all{values...};
    const size_t element = sizeof all[0];
    put(folder / "x.mha", header({{"ElementType", type}, {"DimSize", text(all.size(), " 1 1")}}) +
                              bytes_of(all.data(), all.size() * element, element, false));
    return folder / "x.mha";
  };
  using Shorts = std::vector<int16_t>;
  REQUIRE(read_volume<int16_t>(make("MET_DOUBLE", -1024.0, 3071.0, 0.0)).voxels == Shorts{-1024, 3071, 0});
  REQUIRE(read_volume<int16_t>(make("MET_FLOAT", 32767.f, -32768.f)).voxels == Shorts{32767, -32768});
  REQUIRE(read_volume<int16_t>(make("MET_UCHAR", uint8_t(255))).voxels == Shorts{255});
  REQUIRE(read_volume<int16_t>(make("MET_LONG_LONG", int64_t(-5))).voxels == Shorts{-5});
  REQUIRE(read_volume<uint8_t>(make("MET_SHORT", int16_t(1), int16_t(0))).voxels == std::vector<uint8_t>{1, 0});
  REQUIRE(read_volume<float>(make("MET_SHORT", int16_t(-7))).voxels == std::vector<float>{-7});
  REQUIRE(read_volume<float>(make("MET_DOUBLE", 0.1)).voxels == std::vector<float>{0.1f});
  REQUIRE(read_volume<float>(make("MET_INT", 16777216)).voxels == std::vector<float>{16777216});

  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(make("MET_FLOAT", 1.f, 12.5f)); }),
               Catch::Contains("x.mha") && Catch::Contains("the value 12.5 (number 1)"));
  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(make("MET_DOUBLE", 40000.0)); }),
               Catch::Contains("x.mha") && Catch::Contains("the value 40000"));
  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(make("MET_FLOAT", NAN)); }),
               Catch::Contains("x.mha") && Catch::Contains("the value nan"));
  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(make("MET_USHORT", uint16_t(32768))); }),
               Catch::Contains("x.mha") && Catch::Contains("32768"));
  REQUIRE_THAT(error_of([&] { read_volume<uint8_t>(make("MET_SHORT", int16_t(-1))); }),
               Catch::Contains("x.mha") && Catch::Contains("the value -1"));
  REQUIRE_THAT(error_of([&] { read_volume<uint8_t>(make("MET_CHAR", int8_t(-1))); }),
               Catch::Contains("x.mha") && Catch::Contains("the value -1"));
  REQUIRE_THAT(error_of([&] { read_volume<float>(make("MET_INT", 16777217)); }),
               Catch::Contains("x.mha") && Catch::Contains("the value 16777217"));
  REQUIRE_THAT(error_of([&] { read_volume<float>(make("MET_ULONG_LONG", uint64_t(-1))); }),
               Catch::Contains("x.mha") && Catch::Contains("18446744073709551615"));
  REQUIRE_THAT(error_of([&] { read_volume<float>(make("MET_DOUBLE", 1e300)); }),
               Catch::Contains("x.mha") && Catch::Contains("the value 1e+300"));
  put(folder / "x.mha", header({{"ElementNumberOfChannels", "2"}, {"DimSize", "4 3 1"}}) + kRaw);
  REQUIRE_THAT(error_of([&] { read_volume<int16_t>(folder / "x.mha"); }),
               Catch::Contains("x.mha: has 2 values per voxel"));
}

TEST_CASE("metaimage: a range of slices") {
  const Scratch folder;
  MetaImage image;
  image.dims = {100, 90, 80};  // more than a piece of 256 KiB before the range
  image.spacing = {1, 1, 2.5}, image.origin = {10, 20, 30};
  image.direction = {1, 0, 0, 0, 0.6, 0.8, 0, -0.8, 0.6};
  image.data.resize(size_t(image.bytes()));
  std::mt19937 random(2);
  for (std::byte& b : image.data) b = std::byte(random() % 7);
  for (bool compressed : {false, true}) {
    write_metaimage(folder / "x.mha", image, image.data, compressed);
    const MetaHeader header = read_metaimage_header(folder / "x.mha");
    for (const auto& [z0, z1] : {std::pair(0, 80), {0, 1}, {33, 35}, {79, 80}}) {
      const MetaImage part = read_slices(header, z0, z1);
      REQUIRE(part.dims == std::vector<int64_t>{100, 90, z1 - z0});
      REQUIRE(part.origin[0] == 10);
      REQUIRE(part.origin[1] == Approx(20 - z0 * 2.5 * 0.8));
      REQUIRE(part.origin[2] == Approx(30 + z0 * 2.5 * 0.6));
      REQUIRE(std::equal(part.data.begin(), part.data.end(), image.data.begin() + z0 * 18000));
      REQUIRE(int64_t(part.data.size()) == (z1 - z0) * 18000);
    }
    for (const auto& [z0, z1] : {std::pair(-1, 1), {5, 5}, {79, 81}})
      REQUIRE_THAT(error_of([&, z0 = z0, z1 = z1] { read_slices(header, z0, z1); }), Catch::Contains("x.mha"));
  }
}

TEST_CASE("metaimage: what cannot be written is said, and leaves what was there") {
  const Scratch folder;
  const Volume<int16_t> volume(Grid{{64, 64, 2}});
  fs::create_symlink("/dev/full", folder / "full.mha");
  REQUIRE_THAT(error_of([&] { write_volume(folder / "full.mha", volume); }),
               Catch::Contains("cannot write") && Catch::Contains("full.mha: No space left on device"));
  fs::create_symlink("/dev/full", folder / "full.raw");
  REQUIRE_THAT(error_of([&] { write_volume(folder / "full.mhd", volume); }),
               Catch::Contains("No space left on device"));
  REQUIRE_FALSE(fs::exists(folder / "full.mhd"));
  REQUIRE_THAT(error_of([&] { write_volume(folder / "none/x.mhd", volume); }),
               Catch::Contains("x.mhd: No such file or directory"));
  REQUIRE_THAT(error_of([&] { write_volume(folder / "x.raw", volume); }), Catch::Contains("x.raw: the name"));

  put(folder / "x.raw", "old");
  fs::create_directory(folder / "x.mhd");
  REQUIRE_THAT(error_of([&] { write_volume(folder / "x.mhd", volume); }), Catch::Contains("x.mhd: it is a folder"));
  REQUIRE(read_file(folder / "x.raw", 10) == "old");

  MetaImage image{{{ElementType::i16, 1, {2, 2}, {1, 1}, {0, 0}, {1, 0, 0, 1}}, std::vector<std::byte>(8)}, {}};
  const auto refused = [&](auto change) {
    MetaImage wrong = image;
    change(wrong);
    return error_of([&] { write_metaimage(folder / "y.mha", wrong, wrong.data, false, wrong.extra); });
  };
  REQUIRE(refused([](MetaImage&) {}) == "no error");
  fs::remove(folder / "y.mha");
  REQUIRE_THAT(refused([](MetaImage& i) { i.data.pop_back(); }), Catch::Contains("7 bytes"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.spacing[1] = 0; }), Catch::Contains("ElementSpacing = 1 0"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.origin[0] = NAN; }), Catch::Contains("Offset"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.direction = {1, 1, 1, 1}; }), Catch::Contains("TransformMatrix"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.extra = {{"DimSize", "9 9"}}; }), Catch::Contains("DimSize"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.extra = {{"Note", "a\nDimSize = 9 9"}}; }), Catch::Contains("Note"));
  REQUIRE_THAT(refused([](MetaImage& i) { i.extra = {{"a = b", "c"}}; }), Catch::Contains("a = b"));
  REQUIRE_FALSE(folder.holds_temporary());
  REQUIRE_FALSE(fs::exists(folder / "y.mha"));
}

TEST_CASE("metaimage: files of other programs, where they are at hand") {
  const fs::path shared = fs::path("..") / "shared" / "metaimage";
  if (!fs::is_directory(shared)) return;
  for (const auto& entry : fs::recursive_directory_iterator(shared)) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".mhd") && !path.ends_with(".mha")) continue;
    CAPTURE(path);
    if (entry.path().parent_path().filename() == "malformed")
      REQUIRE_THAT(error_of([&] { read_metaimage(path); }), Catch::Contains(entry.path().filename().string()));
    else
      REQUIRE(error_of([&] { read_metaimage(path); }) == "no error");
  }
}
