// Files other than MetaImage: how they are written at all, CSV, .npy and .png.
#include <limits>
#include <random>

#include "data/formats/annotations.h"
#include "data/formats/csv.h"
#include "data/formats/npy.h"
#include "data/formats/png.h"
#include "tensor/io/file.h"
#include "tensor/text.h"
#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

std::string hex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) bytes += char(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes;
}

}  // namespace

TEST_CASE("file: read with a limit, or refused with the reason") {
  const Scratch folder;
  write_file(folder / "a.txt", "hello");
  REQUIRE(read_file(folder / "a.txt", 5) == "hello");
  REQUIRE_THAT(error_of([&] { read_file(folder / "a.txt", 4); }),
               Catch::Contains("a.txt: 5 bytes, more than the limit"));
  REQUIRE_THAT(error_of([&] { read_file(folder / "b.txt", 4); }), Catch::Contains("b.txt: No such file or directory"));
  REQUIRE_THAT(error_of([&] { read_file(folder.path, 4); }), Catch::Contains("it is a folder"));
  REQUIRE_THAT(error_of([&] { read_file("/dev/zero", 4); }), Catch::Contains("/dev/zero: it is a device"));
  const InputFile file(folder / "a.txt");
  char two[2];
  file.read(3, two, 2);
  REQUIRE(std::string(two, 2) == "lo");
  for (const auto& [offset, bytes] :
       {std::pair<int64_t, int64_t>{4, 2}, {6, 0}, {-1, 1}, {0, -1}, {INT64_MAX, INT64_MAX}})
    REQUIRE_THAT(error_of([&, o = offset, b = bytes] { file.read(o, two, b); }),
                 Catch::Contains("a.txt: ends after 5 bytes"));
}

TEST_CASE("file: written whole or not at all") {
  const Scratch folder;
  write_file(folder / "a.txt", "old");
  {
    AtomicFile half(folder / "a.txt");
    half.write("new");
    REQUIRE(read_file(folder / "a.txt", 10) == "old");
  }
  REQUIRE(read_file(folder / "a.txt", 10) == "old");
  write_file(folder / "a.txt", "new");
  REQUIRE(read_file(folder / "a.txt", 10) == "new");

  fs::create_symlink("a.txt", folder / "link.txt");
  write_file(folder / "link.txt", "through");
  REQUIRE(fs::is_symlink(folder / "link.txt"));
  REQUIRE(read_file(folder / "a.txt", 10) == "through");

  if (fs::is_directory("/dev/shm")) {  // files in memory are no devices
    const std::string path = text("/dev/shm/acinus-test-", getpid());
    write_file(path, "a long one");
    write_file(path, "short");
    CHECK(read_file(path, 10) == "short");
    fs::remove(path);
  }

  REQUIRE(error_of([] { write_file("/dev/full", "x"); }) == "cannot write /dev/full: No space left on device");
  REQUIRE(fs::is_character_file("/dev/full"));
  REQUIRE_THAT(error_of([&] { write_file(folder / "none/a.txt", "x"); }), Catch::Contains("none/a.txt: No such file"));
  REQUIRE_THAT(error_of([&] { write_file(folder.path, "x"); }), Catch::Contains("it is a folder"));
  REQUIRE_FALSE(folder.holds_temporary());
}

TEST_CASE("file: numbers in text") {
  double x = 0;
  for (const char* wrong : {"", " 1", "1 ", "1,5", "1.5mm", "+-1", "++1", "0x10", "1e", "--1", "1e999"})
    REQUIRE_FALSE(parse(wrong, x));
  REQUIRE((parse("+1.5e-3", x) && x == 0.0015));
  int64_t n = 0;
  for (const char* wrong : {"", "1.0", "9223372036854775808", "1e3", "one"}) REQUIRE_FALSE(parse(wrong, n));
  REQUIRE((parse("-9223372036854775808", n) && n == std::numeric_limits<int64_t>::min()));
  REQUIRE(shortest(0.7) == "0.7");
  REQUIRE(shortest(-195) == "-195");
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; i++) {
    const uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, 8);
    if (std::isfinite(value)) REQUIRE((parse(shortest(value), x) && x == value));
  }
}

TEST_CASE("csv: separators, line ends, quotes and a byte order mark") {
  const Scratch folder;
  const std::vector<std::vector<std::string>> rows{{"1", "two"}, {"3", ""}};
  for (const char* content :
       {"a,b\n1,two\n3,\n", "a,b\r\n1,two\r\n\r\n3,\r\n",
        "\xEF\xBB\xBF"
        "a,b\n1,two\n3,",
        "a\tb\n1\ttwo\n3\t\n", "\"a\",\"b\"\r\n\"1\",\"two\"\r\n\"3\",\"\"\r\n", "\n a , b\n1, two \n3,\n"}) {
    CAPTURE(content);
    write_file(folder / "x.csv", content);
    const CsvTable table = read_csv(folder / "x.csv");
    REQUIRE(table.names == std::vector<std::string>{"a", "b"});
    REQUIRE(table.rows == rows);
    REQUIRE(table.number(1, "a") == 3);
    REQUIRE(table.integer(0, "a") == 1);
    REQUIRE(table.text(0, "b") == "two");
  }
  const std::vector<std::string> odd{"plain", "a,b", "say \"so\"", "", " blank", "two\nlines", "tab\there"};
  write_file(folder / "x.csv", "1,2,3,4,5,6,7\n" + csv_line(odd) + csv_line(odd));
  const CsvTable table = read_csv(folder / "x.csv");
  REQUIRE(table.rows == std::vector<std::vector<std::string>>{odd, odd});
  REQUIRE(table.lines == std::vector<int64_t>{2, 4});
  // A tab inside quotes parts nothing.
  write_file(folder / "x.csv", "\"a\tb\n\",c\n1,2\n");
  REQUIRE(read_csv(folder / "x.csv").names == std::vector<std::string>{"a\tb\n", "c"});
  // What looks like a byte order mark but is part of a name is quoted, and so comes back.
  write_file(folder / "x.csv", csv_line({"\xEF\xBB\xBF"
                                         "a",
                                         "b c", " d"}));
  REQUIRE(read_csv(folder / "x.csv").names == std::vector<std::string>{"\xEF\xBB\xBF"
                                                                       "a",
                                                                       "b c", " d"});
}

TEST_CASE("csv: what is wrong is said with file and line") {
  const Scratch folder;
  const auto error = [&](const std::string& content) {
    write_file(folder / "x.csv", content);
    return error_of([&] { read_annotations(folder / "x.csv"); });
  };
  const std::string names = "seriesuid,coordX,coordY,coordZ,diameter_mm\n", good = "1.2,1,2,3,4\n";
  REQUIRE(error(names + good) == "no error");
  REQUIRE_THAT(error(""), Catch::Contains("x.csv: is empty"));
  REQUIRE_THAT(error("seriesuid,coordX,coordY,coordZ\n1.2,1,2,3\n"),
               Catch::Contains("x.csv:1: there is no column 'diameter_mm'"));
  REQUIRE_THAT(error(names + good + "1.2,1,2,3\n"), Catch::Contains("x.csv:3: 4 fields under a header of 5"));
  REQUIRE_THAT(error(names + good + "1.2,1,2,3,4,\n"), Catch::Contains("x.csv:3: 6 fields"));
  for (const char* wrong : {"nan", "inf", "1e999", "", "4mm", "4 5", "0x4", "four"})
    REQUIRE_THAT(error(names + good + "\n1.2,1,2,3," + wrong + "\n"),
                 Catch::Contains(text("x.csv:4: diameter_mm is '", wrong, "', not a number")));
  REQUIRE_THAT(error("a,a\n"), Catch::Contains("x.csv:1: two columns are called 'a'"));
  REQUIRE_THAT(error(names + "\"1.2,1,2,3,4\n\n\n"), Catch::Contains("x.csv:2: the quote that begins in this line"));
  REQUIRE_THAT(error(names + "\"1.2\"x,1,2,3,4\n"), Catch::Contains("x.csv:2: 'x' after a closing quote"));
  REQUIRE_THAT(error(names + "1\"2\",1,2,3,4\n"), Catch::Contains("x.csv:2: a quote within the field"));
  write_file(folder / "x.csv", "n\n1.5\n");
  REQUIRE_THAT(error_of([&] { read_csv(folder / "x.csv").integer(0, "n"); }),
               Catch::Contains("x.csv:2: n is '1.5', not a whole number"));
}

TEST_CASE("csv: LUNA16's annotations") {
  const Scratch folder;
  const std::vector<Annotation> nodules{{"1.3.6.1", {-128.6994211, 1.0 / 3, -298.3875064}, 5.651470635},
                                        {"LKDS-00001", {1e-7, 0, 12345.678}, -1}};
  write_annotations(folder / "annotations.csv", nodules);
  REQUIRE(read_annotations(folder / "annotations.csv") == nodules);
  REQUIRE(read_file(folder / "annotations.csv", 1000)
              .starts_with("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.3.6.1,-128.6994211,0.3333333333333333,-298."
                           "3875064,5.651470635\n"));
  write_file(folder / "more.csv", "probability,diameter_mm,coordZ,coordY,coordX,seriesuid\n0.5,4,3,2,1,uid\n");
  REQUIRE(read_annotations(folder / "more.csv") == std::vector<Annotation>{{"uid", {1, 2, 3}, 4}});
  write_annotations(folder / "none.csv", {});
  REQUIRE(read_annotations(folder / "none.csv").empty());
}

TEST_CASE("npy: the bytes that NumPy writes") {
  const Scratch folder;
  write_npy(folder / "x.npy", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::string file = read_file(folder / "x.npy", 1000);
  REQUIRE(file.size() == 128 + 24);
  REQUIRE(file.substr(0, 10) == hex("934e554d505901007600"));
  REQUIRE(file.substr(10, 60) == "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ");
  REQUIRE(file[127] == '\n');
  REQUIRE(file.substr(128, 8) == hex("0000803f00000040"));
  write_npy(folder / "x.npy", {3}, std::vector<uint8_t>{7, 8, 9});
  REQUIRE_THAT(read_file(folder / "x.npy", 1000), Catch::Contains("'|u1'") && Catch::Contains("(3,)"));
}

template <class T>
void write_and_read(const Scratch& folder) {
  const std::vector<T> values{T(0), T(1), std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest(), T(5), T(6)};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6}, {2, 3}, {1, 3, 2, 1}}) {
    write_npy(folder / "x.npy", shape, values);
    const NpyArray array = read_npy(folder / "x.npy");
    REQUIRE(array.shape == shape);
    REQUIRE(array.values<T>() == values);
  }
}

TEST_CASE("npy: every type comes back the same") {
  const Scratch folder;
  write_and_read<int8_t>(folder);
  write_and_read<int16_t>(folder);
  write_and_read<int32_t>(folder);
  write_and_read<int64_t>(folder);
  write_and_read<uint8_t>(folder);
  write_and_read<uint16_t>(folder);
  write_and_read<uint32_t>(folder);
  write_and_read<uint64_t>(folder);
  write_and_read<float>(folder);
  write_and_read<double>(folder);
  write_npy(folder / "x.npy", {}, std::vector<double>{2.5});
  REQUIRE(read_npy(folder / "x.npy").shape.empty());
  REQUIRE(read_npy(folder / "x.npy").values<double>() == std::vector<double>{2.5});
  write_npy(folder / "x.npy", {4, 0}, std::vector<float>{});
  REQUIRE(read_npy(folder / "x.npy").values<float>().empty());
  REQUIRE_THAT(error_of([&] { read_npy(folder / "x.npy").values<int16_t>(); }), Catch::Contains("holds f4, not i2"));
  REQUIRE_THAT(error_of([&] {
                 write_npy(folder / "x.npy", {2, 2}, std::vector<float>{1});
               }),
               Catch::Contains("x.npy: shape (2, 2)"));
}

namespace {

// A .npy file of the given header; version 2 and 3 have four bytes for its length.
std::string npy(const std::string& header, const std::string& data, int version = 1) {
  const size_t n = header.size();
  std::string file = std::string("\x93NUMPY", 6) + char(version) + '\0' + char(n & 255) + char(n >> 8);
  if (version > 1) file += std::string(2, '\0');
  return file + header + data;
}

}  // namespace

TEST_CASE("npy: what other programs write") {
  const Scratch folder;
  const auto read = [&](const std::string& file) {
    write_file(folder / "x.npy", file);
    return read_npy(folder / "x.npy");
  };
  const std::string six = hex("000001000200030004000500");
  using Shorts = std::vector<int16_t>;
  for (int version : {1, 2, 3})
    REQUIRE(
        read(npy("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }   \n", six, version)).values<int16_t>() ==
        Shorts{0, 1, 2, 3, 4, 5});
  REQUIRE(read(npy("{\"shape\":(2L,3L),\"descr\":\"<i2\",\"fortran_order\":False}", six)).shape ==
          std::vector<int64_t>{2, 3});
  REQUIRE(read(npy("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}\n", six)).values<int16_t>() ==
          Shorts{0, 2, 4, 1, 3, 5});
  REQUIRE(read(npy("{'descr': '>i2', 'fortran_order': False, 'shape': (6,)}\n", six)).values<int16_t>() ==
          Shorts{0, 256, 512, 768, 1024, 1280});
  REQUIRE(read(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", hex("0100"))).values<uint8_t>() ==
          std::vector<uint8_t>{1, 0});
  const std::vector<float> halves =
      read(npy("{'descr': '<f2', 'fortran_order': False, 'shape': (8,)}", hex("003c00c0ff7b0100000000800402007c")))
          .values<float>();
  REQUIRE(halves == std::vector<float>{1, -2, 65504, std::ldexp(1.f, -24), 0, -0.f, std::ldexp(516.f, -24), INFINITY});
  REQUIRE(std::signbit(halves[5]));

  // Three axes in Fortran order against the same in C order.
  std::string fortran, straight;
  for (int z = 0; z < 4; z++)
    for (int y = 0; y < 3; y++)
      for (int x = 0; x < 2; x++) fortran += char(100 * x + 10 * y + z);
  for (int x = 0; x < 2; x++)
    for (int y = 0; y < 3; y++)
      for (int z = 0; z < 4; z++) straight += char(100 * x + 10 * y + z);
  const std::string shape = ", 'shape': (2, 3, 4), 'descr': '|u1'}\n";
  REQUIRE(read(npy("{'fortran_order': True" + shape, fortran)).data ==
          read(npy("{'fortran_order': False" + shape, straight)).data);
}

TEST_CASE("npy: malformed files are refused") {
  const Scratch folder;
  const auto error = [&](const std::string& file) {
    write_file(folder / "x.npy", file);
    return error_of([&] { read_npy(folder / "x.npy"); });
  };
  const auto with = [](const std::string& descr, const std::string& order, const std::string& shape) {
    return npy("{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n",
               std::string(16, 'x'));
  };
  REQUIRE(error(with("'<f4'", "False", "(4,)")) == "no error");
  const std::string wrong[] = {"",
                               "\x93NUMPY",
                               "\x93NUMPX" + npy("{}", "").substr(6),
                               npy("{}", "", 9),
                               npy("{'descr': '<f4', 'shape': (1,)}", "xxxx"),
                               npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "xxxx"),
                               npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "xxxx"),
                               npy("{'descr': '<f4", "xxxx"),
                               npy("", "xxxx"),
                               npy(std::string(60000, '{'), ""),
                               npy("{}", "").substr(0, 8) + "\xff\xff" + "{}",
                               with("'|O'", "False", "(4,)"),
                               with("'<U4'", "False", "(4,)"),
                               with("'<f3'", "False", "(4,)"),
                               with("'f4'", "False", "(4,)"),
                               with("''", "False", "(4,)"),
                               with("[('a', '<f4')]", "False", "(4,)"),
                               with("'<f4'", "Maybe", "(4,)"),
                               with("'<f4'", "False", "(5,)"),
                               with("'<f4'", "False", "(-4,)"),
                               with("'<f4'", "False", "(4.0,)"),
                               with("'<f4'", "False", "4"),
                               with("'<f4'", "False", "(2 2)"),
                               with("'<f4'", "False", "(4294967296, 4294967296)"),
                               with("'<f4'", "False", "(99999999999999999999,)"),
                               with("'<f4'", "False", "(1000000000000,)")};
  for (const std::string& file : wrong) {
    const std::string message = error(file);
    CAPTURE(file.substr(0, 80));
    REQUIRE_THAT(message, Catch::Contains("x.npy: "));
  }
  REQUIRE_THAT(error(with("[('a', '<f4')]", "False", "(4,)")), Catch::Contains("descr"));
  REQUIRE_THAT(error(with("'<f4'", "False", "(5,)")),
               Catch::Contains("shape (5,) of f4 requires 20 bytes, but 16 follow"));
  REQUIRE(error(with("'<f4'", "True", "(0, 4294967296, 4294967296)")) == "no error");  // empty, whatever the rest says
}

TEST_CASE("png: every number of channels comes back the same") {
  const Scratch folder;
  std::mt19937 random(1);
  for (int channels : {1, 2, 3, 4}) {
    Picture picture{37, 11, channels, std::vector<uint8_t>(size_t(37 * 11 * channels))};
    for (uint8_t& p : picture.pixels) p = uint8_t(random());
    write_png(folder / "x.png", picture);
    REQUIRE(read_file(folder / "x.png", 1 << 20) == encode_png(picture));
    const Picture again = read_png(folder / "x.png");
    REQUIRE(again.width == 37);
    REQUIRE(again.height == 11);
    REQUIRE(again.channels == channels);
    REQUIRE(again.pixels == picture.pixels);
  }
  REQUIRE_THAT(error_of([&] {
                 write_png(folder / "x.png", {2, 2, 3, std::vector<uint8_t>(11)});
               }),
               Catch::Contains("2x2x3"));
  REQUIRE_THAT(error_of([&] {
                 write_png(folder / "x.png", {2, 2, 5, std::vector<uint8_t>(20)});
               }),
               Catch::Contains("5 channels"));
  REQUIRE_THAT(error_of([&] { write_png(folder / "x.png", {0, 2, 1, {}}); }), Catch::Contains("0x2"));
  REQUIRE_THAT(error_of([&] { write_png("/dev/full", {1, 1, 1, {0}}); }), Catch::Contains("/dev/full: No space left"));
}

TEST_CASE("png: malformed files are refused") {
  const Scratch folder;
  const auto error = [&](const std::string& file) {
    write_file(folder / "x.png", file);
    return error_of([&] { read_png(folder / "x.png"); });
  };
  const std::string good = encode_png({8, 8, 3, std::vector<uint8_t>(192, 77)});
  std::string with_empty = good;  // an IDAT of no bytes before the one that has the pixels
  with_empty.insert(33, std::string("\0\0\0\0IDAT\x35\xaf\x06\x1e", 12));
  REQUIRE(error(with_empty) == "no error");
  std::string long_chunk = good;  // the length of IDAT, after the signature and IHDR's 25 bytes
  long_chunk[33] = '\x7f';
  REQUIRE_THAT(error(long_chunk), Catch::Contains("x.png: chunk IDAT should have 21307"));
  REQUIRE(error(good) == "no error");
  for (size_t n = 0; n + 12 < good.size(); n++)  // all but the closing IEND
    REQUIRE_THAT(error(good.substr(0, n)), Catch::Contains("x.png: "));
  REQUIRE_THAT(error("not a picture"), Catch::Contains("x.png: not a PNG file: wrong signature"));
  // IHDR says 65536 x 65536, then 16 bits, with the file's few bytes behind.
  std::string large = good, deep = good;
  large.replace(16, 8, hex("0001000000010000"));
  REQUIRE_THAT(error(large), Catch::Contains("x.png: "));
  deep[24] = 16;
  REQUIRE_THAT(error(deep), Catch::Contains("x.png: has 16 bits"));
}
