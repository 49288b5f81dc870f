// TensorBoard's event files: scalars and images of a run in progress, for `tensorboard --logdir runs`.
//
//   EventFile events("runs/laptop");
//   events.scalar(/* step */ 100, "val/dice", 0.72);
//   events.picture(100, "overlays/worst", overlay(ct, &truth, &predicted, z));
//
// Each record is written at once and whole, so that a TensorBoard watching the folder sees it. A program that is killed
// leaves at most one incomplete record, the last, which readers skip. If a record cannot be written (a full disk), that
// is an Error, and the file ends before it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "data/formats/png.h"

namespace acinus {

double unix_time();       // seconds since 1970
std::string host_name();  // "localhost" if unknown

class EventFile {
 public:
  // Makes the folder and, in it, events.out.tfevents.<wall_time, 10 digits>.<host>. If that exists, .2, .3, ... is
  // appended: a resumed run gets a file of its own.
  explicit EventFile(const std::string& folder, double wall_time = unix_time(), const std::string& host = host_name());
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Tags are UTF-8; the part before a "/" groups them on TensorBoard's page. Values become float; NaN is allowed.
  void scalar(int64_t step, const std::string& tag, double value, double wall_time = unix_time());
  void picture(int64_t step, const std::string& tag, const Picture& picture, double wall_time = unix_time());
  const std::string& path() const { return path_; }

 private:
  void append(std::string_view event);

  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;  // of the complete records, in bytes
};

// The checksum of the records, CRC-32C (Castagnoli; RFC 3720, appendix B.4): crc32c("123456789") = 0xe3069283.
uint32_t crc32c(std::string_view bytes);
// As stored in the file: rotated and offset, since the CRC of data that contain a CRC is weak.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace acinus
