// Three real scans in LUNA16 form (LIDC-IDRI patients 1 to 3, CC BY 3.0), where they lie beside the project. The
// checksums were computed by Python's zlib, from the streams it inflated.
#include <zlib.h>

#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "data/formats/metaimage.h"
#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

const fs::path luna = fs::path("..") / "shared" / "luna";

template <class T>
uint32_t checksum(const Volume<T>& volume) {
  return uint32_t(
      crc32(0, reinterpret_cast<const Bytef*>(volume.voxels.data()), uInt(volume.voxels.size() * sizeof(T))));
}

struct Scan {
  std::string end;  // of its seriesuid
  Index3 size;
  uint32_t voxels, outlines;  // checksums
  size_t nodules;
};
const Scan scans[] = {{"603192", {382, 296, 133}, 0x3bf00aee, 0x36678c7c, 1},
                      {"104919", {420, 300, 261}, 0x04b28976, 0xca71a52a, 0},
                      {"003264", {410, 266, 140}, 0x1b91b28f, 0x97815878, 3}};

std::string uid_of(const std::string& end) {
  for (const auto& entry : fs::directory_iterator(luna / "subset0"))
    if (const std::string uid = entry.path().stem().string(); uid.ends_with(end)) return uid;
  return "";
}

}  // namespace

TEST_CASE("real scans: every value, and the annotated centres lie inside the readers' outlines", "[slow]") {
  if (!fs::is_directory(luna)) return;
  const std::vector<Annotation> annotations = read_annotations((luna / "annotations.csv").string());
  for (const Scan& scan : scans) {
    CAPTURE(scan.end);
    const std::string uid = uid_of(scan.end);
    const auto ct = read_volume<int16_t>((luna / "subset0" / (uid + ".mhd")).string());
    const auto outlines = read_volume<uint8_t>((luna / "readers" / (uid + "_readers.mhd")).string());
    CHECK(ct.grid.size == scan.size);
    CHECK(ct.grid == outlines.grid);
    CHECK(checksum(ct) == scan.voxels);
    CHECK(checksum(outlines) == scan.outlines);
    size_t nodules = 0;
    for (const Annotation& nodule : annotations) {
      if (nodule.seriesuid != uid) continue;
      nodules++;
      const Vec3 at = ct.grid.to_voxel(nodule.centre);
      CAPTURE(nodule.centre[0], nodule.centre[1], nodule.centre[2]);
      REQUIRE(ct.grid.contains(at));
      CHECK(outlines.at(std::llround(at[0]), std::llround(at[1]), std::llround(at[2])) >= 2);
    }
    CHECK(nodules == scan.nodules);

    const Scratch folder;  // through NIfTI and back: the same values, where they were within a float's precision
    write_volume(folder / "scan.nii.gz", ct);
    const auto again = read_volume<int16_t>(folder / "scan.nii.gz");
    CHECK((again.voxels == ct.voxels && again.grid.size == ct.grid.size));
    for (const Vec3& at : {Vec3{0, 0, 0}, Vec3{400, 300, 200}})
      for (size_t i = 0; i < 3; i++) CHECK(again.grid.to_world(at)[i] == Approx(ct.grid.to_world(at)[i]).margin(1e-4));
  }
}
