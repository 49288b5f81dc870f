// read: times reading a scan of 512x512x300 voxels (157 MB) against lower bounds:
//
//   uncompressed   dd if=FILE of=/dev/null bs=1M, which reads every chunk into the same small buffer: it never leaves the
//                  processor's cache, so reading into memory cannot be as fast;
//                  dd with one block of the whole file, which has to allocate memory for it, as we do;
//                  read(2) in chunks of 1 MB into one small buffer (dd without dd);
//                  read(2) into memory that is allocated already: the cost of copying
//   compressed     one call of zlib's inflate, from memory into fresh memory
//
// All are run in turn, so that a machine whose speed drifts is fair to each; the table shows medians. The files have just
// been written, so they come from the page cache and not from the disk. A time ends when the voxels are in memory;
// freeing it is not counted.
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>

#include "apps/common/cli.h"
#include "data/formats/metaimage.h"
#include "data/formats/volume_io.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/memory.h"
#include "tensor/random.h"
#include "tensor/text.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kChunk = 1 << 20;

// Two lungs (-870 HU) in a body (40 HU) in air, with noise of 18 HU that is correlated between neighbours: the size of the
// zlib stream depends on little else. Without vessels and nodules it takes only a second.
Volume<int16_t> make_scan(int64_t slices) {
  Volume<int16_t> ct(Grid{{512, 512, slices}, {0.7, 0.7, 1}});
  const auto noise = [&](int64_t i) {  // nearly normal: the sum of four uniform numbers
    const uint64_t bits = random_bits(1, uint64_t(i));
    const double sum =
        double(bits & 0xffff) + double(bits >> 16 & 0xffff) + double(bits >> 32 & 0xffff) + double(bits >> 48);
    return (sum / 65536 - 2) * 1.732;
  };
#pragma omp parallel for
  for (int64_t z = 0; z < slices; z++)
    for (int64_t y = 0; y < 512; y++) {
      const int64_t row = ct.grid.offset(0, y, z);
      double before = noise(row - 1);
      for (int64_t x = 0; x < 512; x++) {
        const double mm_x = (double(x) - 255.5) * 0.7, mm_y = (double(y) - 255.5) * 0.7, here = noise(row + x);
        const bool lung = std::hypot((std::abs(mm_x) - 70) / 55, mm_y / 80) < 1;
        const bool body = std::hypot(mm_x / 165, mm_y / 115) < 1;
        const double hu = (lung ? -870 : body ? 40 : -1000) + 18 * 0.707 * (here + before);
        ct.voxels[row + x] = int16_t(std::lround(std::max(hu, -1024.)));
        before = here;
      }
    }
  return ct;
}

// The time that dd reports, without that of starting the process.
double dd_seconds(const std::string& path, int64_t block) {
  FILE* dd = popen(text("LC_ALL=C dd if='", path, "' of=/dev/null bs=", block, " 2>&1").c_str(), "r");
  check(dd, "cannot start dd");
  std::string said;
  for (int c; (c = std::fgetc(dd)) != EOF;) said += char(c);
  pclose(dd);
  // "... copied, 0.0251 s, 6.3 GB/s" or, elsewhere, "... transferred in 0.0251 secs ...".
  double seconds = 0;
  const std::vector<std::string_view> parts = words(said);
  for (size_t i = 1; i < parts.size(); i++)
    if (parts[i] == "s," || parts[i] == "secs") parse(parts[i - 1], seconds);
  if (!(seconds > 0)) fail("dd reports no time: ", said);
  return seconds;
}

double seconds_of(const std::function<void()>& f) {
  const double start = seconds_now();
  f();
  return seconds_now() - start;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    int64_t slices = 300, rounds = 9;
    Settings settings("read", "Times reading a scan, uncompressed and compressed.");
    settings.add("slices", slices, "of 512x512 voxels");
    settings.add("rounds", rounds, "timed repetitions of each, after one that is not");
    if (!settings.parse(argc, argv)) return 0;
    check(slices > 0 && rounds > 0, "slices ", slices, ", rounds ", rounds, ": both must be above 0");

    const struct Folder {
      fs::path path = fs::temp_directory_path() / text("acinus-bench-", getpid());
      Folder() { fs::create_directories(path); }
      ~Folder() { fs::remove_all(path); }
    } folder;
    const std::string raw = (folder.path / "raw.mhd").string(), packed = (folder.path / "packed.mhd").string();
    const std::string raw_values = (folder.path / "raw.raw").string();
    const Volume<int16_t> scan = make_scan(slices);
    write_volume(raw, scan);
    write_volume(packed, scan, /*compressed=*/true);
    const int64_t bytes = int64_t(scan.voxels.size()) * 2;
    const std::string stream = read_file((folder.path / "packed.zraw").string(), bytes);

    Volume<int16_t> volume;
    std::unique_ptr<Bytef[]> plain;
    const auto ours = [&](const std::string& path) {
      volume = {};  // its memory goes back before the clock runs
      const double seconds = seconds_of([&] { volume = read_volume<int16_t>(path); });
      check(volume.voxels == scan.voxels, path, " was read wrongly");
      return seconds;
    };
    // Each chunk is read `stride` bytes after the previous one: 0 for all into the same buffer.
    const auto read_loop = [&](void* buffer, int64_t stride) {
      return seconds_of([&] {
        const int file = open(raw_values.c_str(), O_RDONLY);
        int64_t got = 0, more;
        while ((more = read(file, static_cast<char*>(buffer) + got / kChunk * stride, kChunk)) > 0) got += more;
        close(file);
        check(got == bytes, raw_values, ": ", got, " bytes could be read of ", bytes);
      });
    };
    const auto inflated = [&] {
      plain.reset();
      return seconds_of([&] {
        plain.reset(new Bytef[size_t(bytes)]);
        z_stream z{};
        z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stream.data())), z.avail_in = uInt(stream.size());
        z.next_out = plain.get(), z.avail_out = uInt(bytes);
        check(inflateInit(&z) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END, "inflate failed");
        inflateEnd(&z);
      });
    };
    const std::shared_ptr<void> small = memory::allocate(kChunk), large = memory::allocate(bytes + kChunk);
    std::vector<double> times[7];
    for (int64_t i = 0; i <= rounds; i++) {
      const double now[7] = {ours(raw),
                             dd_seconds(raw_values, kChunk),
                             dd_seconds(raw_values, bytes),
                             read_loop(small.get(), 0),
                             read_loop(large.get(), kChunk),
                             ours(packed),
                             inflated()};
      for (size_t k = 0; k < 7 && i > 0; k++) times[k].push_back(now[k]);
    }

    std::printf("512x512x%ld voxels: %.0f MB, %.0f MB compressed; zlib %s; medians of %ld\n\n", long(slices),
                double(bytes) / 1e6, double(stream.size()) / 1e6, zlibVersion(), long(rounds));
    std::printf("| read_volume | MB/s | against | MB/s | ratio |\n|---|---|---|---|---|\n");
    const auto row = [&](const char* what, size_t us, const char* against, size_t them) {
      const double a = median(times[us]), b = median(times[them]);
      std::printf("| %s | %.0f | %s | %.0f | %.2f |\n", what, double(bytes) / 1e6 / a, against, double(bytes) / 1e6 / b,
                  b / a);
    };
    row("uncompressed", 0, "dd bs=1M", 1);
    row("uncompressed", 0, "dd, one block", 2);
    row("uncompressed", 0, "read(2) into 1 MB", 3);
    row("uncompressed", 0, "read(2) into memory that is there", 4);
    row("compressed", 5, "inflate", 6);
    return 0;
  });
}
