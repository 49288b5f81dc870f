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
#include <utility>

#include "tensor/text.h"

namespace acinus {
namespace {

// One system call moves at most 2 GiB on Linux and macOS.
constexpr int64_t kMaxBytes = int64_t(1) << 30;

// Error, with the system's reason, unless a system call has succeeded. verb: read, write
void check_system(bool succeeded, const char* verb, const std::string& path) {
  if (!succeeded) fail("cannot ", verb, " ", path, ": ", std::strerror(errno));
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "a pipe or a socket";
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  struct stat status;
  check_system(stat(path.c_str(), &status) == 0, "read", path);
  if (!S_ISREG(status.st_mode)) fail("cannot read ", path, ": it is ", kind_of(status.st_mode), ", not a file");
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  // The size is that of what was opened: another program may just have replaced the file.
  check_system(descriptor_ >= 0 && fstat(descriptor_, &status) == 0, "read", path);
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
    check_system(got >= 0, "read", path_);
    if (got == 0) fail("cannot read ", path_, ": it became shorter while being read");
    next += got, offset += got, bytes -= got;
  }
}

MappedFile::MappedFile(const std::string& path) {
  const InputFile file(path);  // when it is closed, the mapping stays
  size_ = file.size();
  void* const mapped = size_ > 0 ? mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.descriptor_, 0) : nullptr;
  check_system(mapped != MAP_FAILED, "read", path);
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
  check_system(descriptor_ >= 0, "write", path);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(const void* from, int64_t bytes) {
  const char* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, next, std::min(bytes, kMaxBytes));
    if (put < 0 && errno == EINTR) continue;
    check_system(put >= 0, "write", path_);
    next += put, bytes -= put;
  }
}

// A file system may notice only at fsync or close that it is full; and without fsync a power cut after the rename
// can leave an empty file under the final name.
void AtomicFile::commit() {
  check_system(temporary_.empty() || fsync(descriptor_) == 0, "write", path_);
  check_system(close(std::exchange(descriptor_, -1)) == 0, "write", path_);
  if (temporary_.empty()) return;
  check_system(std::rename(temporary_.c_str(), target_.c_str()) == 0, "write", path_);
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
