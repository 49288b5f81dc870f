// check_metaimage DIR: reads every .mhd and .mha under DIR and says of each whether we do right by it.
//
//   x.mha with x.mha.json beside   what we read is compared with what the json says (see below), value by value
//   malformed/*                    must be refused with a message, within 2 s and 64 MB
//   any other                      must be readable
//
// What was read is then written in each form we write, and must come back the same, whole and slice by slice.
// The json holds dims (x fastest), channels, type ("short"), spacing, origin, direction (entry i: direction of index
// axis i) and values (flat). Exit code: 0 all ok, 1 a failure or nothing to check, 2 bad usage.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/formats/metaimage.h"
#include "tensor/check.h"
#include "tensor/io/file.h"

namespace fs = std::filesystem;
using namespace acinus;
using nlohmann::json;

namespace {

constexpr double kSeconds = 2;
constexpr long kMegabytes = 64;

std::string type_in_json(ElementType type) {
  switch (type) {
    case ElementType::i8:
      return "char";
    case ElementType::u8:
      return "unsigned_char";
    case ElementType::i16:
      return "short";
    case ElementType::u16:
      return "unsigned_short";
    case ElementType::i32:
      return "int";
    case ElementType::u32:
      return "unsigned_int";
    case ElementType::i64:
      return "long_long";
    case ElementType::u64:
      return "unsigned_long_long";
    case ElementType::f32:
      return "float";
    default:
      return "double";
  }
}

// MetaIO inflates a LOCAL stream of unstated size from the first byte of the header on, fails, and leaves zeros.
bool reference_reads_zeros(const std::string& path) {
  const MetaHeader header = read_metaimage_header(path);
  return header.compressed && header.compressed_size == 0 && header.local_start > 0;
}

// Inflates what follows the header by zlib's one-call function, which our reader does not use.
void compare_with_uncompress(const MetaImage& image, const std::string& path) {
  const std::string stream = read_file(path, 1 << 30).substr(size_t(read_metaimage_header(path).local_start));
  std::vector<std::byte> values(image.data.size());
  uLongf size = values.size();
  if (uncompress(reinterpret_cast<Bytef*>(values.data()), &size, reinterpret_cast<const Bytef*>(stream.data()),
                 stream.size()) != Z_OK ||
      size != values.size() || values != image.data)
    fail("values differ from what zlib's uncompress() gives");
}

void compare_with_json(const MetaImage& image, const std::string& path) {
  std::ifstream stream(path + ".json");
  const json expected = json::parse(stream);
  const auto same = [&](const char* key, const json& ours) {
    if (expected.at(key) != ours) fail(key, " is ", ours.dump(), ", not ", expected.at(key).dump());
  };
  const size_t n = image.dims.size();
  json direction = json::array();
  for (size_t i = 0; i < n; i++)
    direction.push_back(std::vector<double>(&image.direction[i * n], &image.direction[i * n] + n));
  same("type", type_in_json(image.type));
  same("channels", image.channels);
  same("dims", image.dims);
  same("spacing", image.spacing);
  same("origin", image.origin);
  same("direction", direction);

  const json& values = expected.at("values");
  if (reference_reads_zeros(path)) return compare_with_uncompress(image, path);
  if (int64_t(values.size()) != image.values()) fail("values: ", image.values(), ", not ", values.size());
  with_type(image.type, [&](auto ours) {
    for (size_t i = 0; i < values.size(); i++) {
      std::memcpy(&ours, image.data.data() + i * sizeof ours, sizeof ours);
      const auto theirs = values[i].get<decltype(ours)>();
      if (ours != theirs) fail("value ", i, " is ", +ours, ", not ", +theirs);
    }
  });
}

void compare(const MetaImage& a, const MetaImage& b, const std::string& what) {
  if (a.type != b.type || a.channels != b.channels || a.dims != b.dims) fail(what, ": type or size differs");
  if (a.spacing != b.spacing || a.origin != b.origin || a.direction != b.direction) fail(what, ": geometry differs");
  if (a.extra != b.extra) fail(what, ": extra keys differ");
  if (a.data != b.data) fail(what, ": values differ");
}

void compare_slices(const MetaImage& whole, const std::string& path) {
  const MetaHeader header = read_metaimage_header(path);
  const int64_t depth = whole.dims.back(), slice = whole.bytes() / depth;
  for (int64_t z : {int64_t(0), depth / 2, depth - 1}) {
    const MetaImage part = read_slices(header, z, z + 1);
    if (int64_t(part.data.size()) != slice ||
        std::memcmp(part.data.data(), whole.data.data() + z * slice, size_t(slice)))
      fail("slice ", z, " read alone differs");
  }
}

// The line about a file that has to be readable.
std::string check_valid(const fs::path& path, const fs::path& scratch) {
  const MetaImage image = read_metaimage(path);
  const std::string reference = path.string() + ".json";
  if (fs::exists(reference)) compare_with_json(image, path);
  compare_slices(image, path);
  for (const char* name : {"again.mha", "again.mhd"})
    for (bool compressed : {false, true}) {
      write_metaimage(scratch / name, image, image.data, compressed, image.extra);
      compare(image, read_metaimage(scratch / name), text("written as ", name, compressed ? ", compressed" : ""));
      compare_slices(image, scratch / name);
    }
  std::string size;
  for (int64_t d : image.dims) size += (size.empty() ? "" : "x") + std::to_string(d);
  return text(type_in_json(image.type), " ", image.dims.size(), "-D ", size,
              image.channels > 1 ? text(" x ", image.channels, " channels") : "",
              !fs::exists(reference)        ? "  (no .json beside)"
              : reference_reads_zeros(path) ? "  (values compared with zlib: the reference reads zeros here)"
                                            : "");
}

struct Refusal {
  bool refused = false;
  double seconds = 0;
  long megabytes = 0;
  char message[400] = "";
};

// Tries to read a malformed file in a child process, which may hang, take all memory or crash.
std::string check_malformed(const fs::path& path) {
  int ends[2];
  if (pipe(ends) != 0) fail("no pipe to the child process");
  const pid_t child = fork();
  if (child < 0) fail("no child process");
  if (child == 0) {
    alarm(unsigned(kSeconds) + 8);
    const auto megabytes = [] {
      rusage usage;
      getrusage(RUSAGE_SELF, &usage);
      return usage.ru_maxrss >> 10;
    };
    Refusal result;
    const long before = megabytes();
    const auto start = std::chrono::steady_clock::now();
    try {
      read_metaimage(path);
    } catch (const Error& error) {
      result.refused = true;
      std::snprintf(result.message, sizeof result.message, "%s", error.what());
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.megabytes = megabytes() - before;
    _exit(write(ends[1], &result, sizeof result) == ssize_t(sizeof result) ? 0 : 1);
  }
  close(ends[1]);
  Refusal result;
  const bool answered = read(ends[0], &result, sizeof result) == ssize_t(sizeof result);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!answered) fail("the reader died", WIFSIGNALED(status) ? text(" of signal ", WTERMSIG(status)) : "");
  if (!result.refused) fail("was read, and should be refused");
  if (result.seconds > kSeconds) fail("took ", result.seconds, " s to be refused");
  if (result.megabytes > kMegabytes) fail("took ", result.megabytes, " MB to be refused");
  if (!std::strstr(result.message, path.filename().c_str())) fail("the message names no file: ", result.message);
  std::string message = result.message;  // the folder is in the line already
  const std::string folder = path.parent_path().string() + "/";
  for (size_t at; (at = message.find(folder)) != message.npos;) message.erase(at, folder.size());
  return "refused: " + message;
}

int check_folder(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && (entry.path().extension() == ".mhd" || entry.path().extension() == ".mha"))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const fs::path scratch = fs::temp_directory_path() / text("check_metaimage-", getpid());
  fs::create_directory(scratch);
  size_t failures = 0;
  for (const fs::path& path : files) {
    std::string verdict = "ok  ", line;
    try {
      line = path.parent_path().filename() == "malformed" ? check_malformed(path) : check_valid(path, scratch);
    } catch (const std::exception& error) {
      verdict = "FAIL", line = error.what();
      failures++;
    }
    std::printf("%s %s  %s\n", verdict.c_str(), fs::relative(path, folder).c_str(), line.c_str());
    std::fflush(stdout);
  }
  fs::remove_all(scratch);
  std::printf("%zu files, %zu ok, %zu failed\n", files.size(), files.size() - failures, failures);
  return files.empty() || failures ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2 || !fs::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: check_metaimage DIR\n  reads every .mhd and .mha under DIR; see tests/%s\n",
                 "check_metaimage.cpp");
    return 2;
  }
  return check_folder(argv[1]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "check_metaimage: %s\n", error.what());
  return 1;
}
