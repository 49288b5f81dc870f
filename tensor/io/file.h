// Files, read and written so that what goes wrong is said: every function throws an Error that names the path and
// the system's reason.
//
//   std::string text = read_file("annotations.csv", 64 << 20);      at most 64 MiB
//   write_file("nodules.csv", text);                                 whole or not at all
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace acinus {

// An open regular file. Folders, devices and pipes are refused before they are opened: a header may name any path,
// and reading from a pipe waits for ever.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // bytes, when it was opened
  // Exactly `bytes` bytes from `offset` on; a file that ends before is an Error.
  void read(int64_t offset, void* to, int64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

// A file as memory: pages are read when they are looked at, kept as long as there is room, and shared by all programs
// that map it. Whoever cuts the file off meanwhile ends this program (SIGBUS); a file that is replaced stays as it was.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const char* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  const char* data_ = nullptr;
  int64_t size_ = 0;
};

// The whole file; one of more than `limit` bytes is an Error, and no memory is taken for it.
std::string read_file(const std::string& path, int64_t limit);

// A file that appears whole or not at all: written beside as <path>.tmp-<pid>, renamed over `path` by commit(),
// removed if commit() is never reached. A symbolic link keeps pointing where it did: its target is replaced. What
// is no regular file, and whatever /dev/stdout and its like stand for, is written straight into.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* from, int64_t bytes);
  void write(std::string_view text) { write(text.data(), int64_t(text.size())); }
  void commit();

 private:
  [[noreturn]] void fail_to_write();

  std::string path_, target_, temporary_;  // as given; what is replaced; what is written until then ("" for a device)
  int descriptor_ = -1;
};

void write_file(const std::string& path, std::string_view content);
// Removes what programs that were killed have left in a folder: files and folders <name>.tmp-<pid> where no process has
// that number any more.
void remove_leftovers(const std::string& folder);
void make_folder(const std::string& path);  // and those above it; one that is there already is fine

}  // namespace acinus
