// TensorBoard's event files: numbers and pictures of a run that goes on, for `tensorboard --logdir runs`.
//
//   EventFile events("runs/laptop");
//   events.scalar(/* step */ 100, "val/dice", 0.72);
//   events.picture(100, "overlays/worst", overlay(ct, &truth, &predicted, z));
//
// Each record goes to the file at once and in one piece, so a TensorBoard that watches the folder sees it, and a
// program that is killed leaves at most one torn record, the last, which readers pass over. What cannot be written (a
// full disk) is an Error, and the file ends before that record.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "data/formats/png.h"

namespace acinus {

double unix_time();       // seconds since 1970, of the system's clock
std::string host_name();  // "localhost" where it is not known

class EventFile {
 public:
  // Makes the folder and, in it, events.out.tfevents.<wall_time, 10 digits>.<host>; with .2, .3, ... at its end if
  // there is one of that name: a run that is resumed gets a file of its own.
  explicit EventFile(const std::string& folder, double wall_time = unix_time(), const std::string& host = host_name());
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Tags are UTF-8; what stands before a "/" groups them on TensorBoard's page. Values become float; NaN may be one.
  void scalar(int64_t step, const std::string& tag, double value, double wall_time = unix_time());
  void picture(int64_t step, const std::string& tag, const Picture& picture, double wall_time = unix_time());
  void flush();  // waits until the disk has it, for power cuts
  const std::string& path() const { return path_; }

 private:
  void append(std::string_view event);

  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;  // bytes, of whole records
};

// The checksum of the records, CRC-32C (Castagnoli; RFC 3720, appendix B.4): crc32c("123456789") = 0xe3069283.
uint32_t crc32c(std::string_view bytes);
// As it stands in the file: rotated and shifted, since a CRC over data that holds its own CRC is a weak one.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace acinus
