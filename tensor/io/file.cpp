#include "tensor/io/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "tensor/text.h"

namespace acinus {

namespace {

// One system call moves at most 2 GiB on Linux and macOS.
constexpr int64_t kMaxBytes = int64_t(1) << 30;

const char* reason() { return std::strerror(errno); }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "a pipe or a socket";
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) fail("cannot read ", path, ": ", reason());
  if (!S_ISREG(status.st_mode)) fail("cannot read ", path, ": it is ", kind_of(status.st_mode), ", not a file");
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail("cannot read ", path, ": ", reason());
  size_ = status.st_size;
}

InputFile::~InputFile() { close(descriptor_); }

void InputFile::read(int64_t offset, void* to, int64_t bytes) const {
  if (offset < 0 || bytes < 0 || bytes > size_ - offset)
    fail(path_, ": ends after ", size_, " bytes; ", bytes, " are wanted from byte ", offset, " on");
  char* next = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, next, std::min(bytes, kMaxBytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read ", path_, ": ", reason());
    if (got == 0) fail("cannot read ", path_, ": it became shorter while being read");
    next += got, offset += got, bytes -= got;
  }
}

MappedFile::MappedFile(const std::string& path) {
  const InputFile file(path);  // refuses what is not a file
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor < 0 || fstat(descriptor, &status) != 0) fail("cannot read ", path, ": ", reason());
  size_ = status.st_size;  // of what was opened: another program may just have replaced the file
  void* const mapped = size_ > 0 ? mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0) : nullptr;
  const int error = errno;
  close(descriptor);  // the mapping stays
  if (mapped == MAP_FAILED) fail("cannot read ", path, ": ", std::strerror(error));
  data_ = static_cast<const char*>(mapped);
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(const_cast<char*>(data_), size_);
}

std::string read_file(const std::string& path, int64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) fail("cannot read ", path, ": ", file.size(), " bytes, more than the limit of ", limit);
  std::string content(file.size(), '\0');
  file.read(0, content.data(), file.size());
  return content;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(path) {
  std::error_code ignored;
  if (std::filesystem::is_symlink(path, ignored)) target_ = std::filesystem::weakly_canonical(path, ignored);
  struct stat status;
  const bool exists = stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail("cannot write ", path, ": it is a folder");
  const bool is_stream = path == "/dev/stdout" || path == "/dev/stderr" || path.starts_with("/dev/fd/");
  if (exists && (!S_ISREG(status.st_mode) || is_stream)) {
    descriptor_ = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  } else {
    temporary_ = text(target_, ".tmp-", getpid());
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  }
  if (descriptor_ < 0) fail("cannot write ", path, ": ", reason());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::fail_to_write() { fail("cannot write ", path_, ": ", reason()); }

void AtomicFile::write(const void* from, int64_t bytes) {
  const char* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, next, std::min(bytes, kMaxBytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_to_write();
    next += put, bytes -= put;
  }
}

// A file system may notice only at fsync or close that it is full; and without fsync a power cut after the rename
// can leave an empty file under the final name.
void AtomicFile::commit() {
  if (!temporary_.empty() && fsync(descriptor_) != 0) fail_to_write();
  const int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_to_write();
  if (temporary_.empty()) return;
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail_to_write();
  temporary_.clear();
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void remove_leftovers(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const size_t at = name.rfind(".tmp-");
    pid_t process = 0;
    if (at == std::string::npos || !parse(name.substr(at + 5), process) || process <= 0) continue;
    if (kill(process, 0) != 0 && errno == ESRCH) std::filesystem::remove_all(entry.path(), ignored);
  }
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && !std::filesystem::is_directory(path)) error = std::make_error_code(std::errc::not_a_directory);
  if (error) fail("cannot make the folder ", path, ": ", error.message());
}

}  // namespace acinus
