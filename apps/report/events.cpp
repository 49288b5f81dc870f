#include "apps/report/events.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "tensor/check.h"
#include "tensor/io/file.h"

namespace acinus {
namespace {

// ---- Protocol Buffers' wire format (https://protobuf.dev/programming-guides/encoding): a message is a sequence of
// fields, each a key (its number and how the value is stored) and the value. Numbers are little-endian.

static_assert(std::endian::native == std::endian::little,
              "event files are little-endian; byte swapping is not written");
template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// 7 bits per byte, the lowest first; the eighth says that more follow.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += char(uint8_t(value | 128));
  return bytes + char(uint8_t(value));
}

enum Wire { kVarint = 0, kEightBytes = 1, kLength = 2, kFourBytes = 5 };
std::string key(uint64_t field, Wire wire) { return varint(field << 3 | uint64_t(wire)); }
std::string field(uint64_t number, int64_t value) { return key(number, kVarint) + varint(uint64_t(value)); }
std::string field(uint64_t number, float value) { return key(number, kFourBytes) + bytes_of(value); }
std::string field(uint64_t number, double value) { return key(number, kEightBytes) + bytes_of(value); }
std::string field(uint64_t number, const std::string& value) {
  return key(number, kLength) + varint(value.size()) + value;
}

// Event{1: wall_time, 2: step, 5: Summary{1: Value{1: tag, and the fields of `value`}}} (TensorBoard's event.proto and
// summary.proto).
std::string event(double wall_time, int64_t step, const std::string& tag, const std::string& value) {
  return field(1, wall_time) + field(2, step) + field(5, field(1, field(1, tag) + value));
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t(0);
  for (char c : bytes) {
    crc ^= uint8_t(c);
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);  // the polynomial, bits reversed
  }
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8; }

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "localhost";
}

EventFile::EventFile(const std::string& folder, double wall_time, const std::string& host) {
  check(wall_time >= 0 && wall_time < 1e10, "events: ", wall_time, " is not a time of ten digits");
  make_folder(folder);
  char seconds[16];
  std::snprintf(seconds, sizeof seconds, "%010lld", static_cast<long long>(wall_time));
  std::string name = folder + "/events.out.tfevents." + seconds + ".";
  for (char c : host) name += std::isalnum(uint8_t(c)) || c == '-' || c == '.' ? c : '_';
  path_ = name;
  const auto make = [&] { return descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); };
  for (int i = 2; make() < 0 && errno == EEXIST; i++) path_ = text(name, ".", i);
  if (descriptor_ < 0) fail("cannot write ", path_, ": ", std::strerror(errno));
  append(field(1, wall_time) + field(3, "brain.Event:2"));  // file_version
}

EventFile::~EventFile() { close(descriptor_); }

void EventFile::scalar(int64_t step, const std::string& tag, double value, double wall_time) {
  append(event(wall_time, step, tag, field(2, float(value))));
}

void EventFile::picture(int64_t step, const std::string& tag, const Picture& picture, double wall_time) {
  append(event(wall_time, step, tag,
               field(4, field(1, int64_t(picture.height)) + field(2, int64_t(picture.width)) +
                            field(3, int64_t(picture.channels)) + field(4, encode_png(picture)))));
}

// A record: length, its checksum, data, its checksum (TFRecord).
void EventFile::append(std::string_view event) {
  const std::string length = bytes_of(uint64_t(event.size()));
  std::string record = length + bytes_of(masked_crc32c(length));
  record.append(event) += bytes_of(masked_crc32c(event));
  for (size_t done = 0; done < record.size();) {
    const ssize_t put = pwrite(descriptor_, record.data() + done, record.size() - done, size_ + int64_t(done));
    if (put >= 0) {
      done += size_t(put);
    } else if (errno != EINTR) {
      const int error = errno;
      [[maybe_unused]] const int cut = ftruncate(descriptor_, size_);  // later records must stay readable
      fail("cannot write ", path_, ": ", std::strerror(error));
    }
  }
  size_ += int64_t(record.size());
}

}  // namespace acinus
