// Reading and writing files. Every function throws an Error that names the path and the system's reason.
//
//   std::string text = read_file("annotations.csv", 64 << 20);      at most 64 MiB
//   write_file("nodules.csv", text);                                 completely or not at all
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace acinus {

// An open regular file. Folders, devices and pipes are refused before they are opened: a header of another file may name
// any path, and reading from a pipe could wait forever.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile& operator=(InputFile&&) = delete;  // neither copied nor moved
  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // bytes, when it was opened
  // Exactly `bytes` bytes, starting at `offset`; Error if the file ends before.
  void read(int64_t offset, void* to, int64_t bytes) const;

 private:
  friend class MappedFile;
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

// A file mapped into memory: its pages are read when they are first accessed, kept while memory suffices, and shared by all
// programs that map it. Truncating the file meanwhile kills this program (SIGBUS); replacing it does not affect the mapping.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile& operator=(MappedFile&&) = delete;
  const char* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  const char* data_ = nullptr;
  int64_t size_ = 0;
};

// The whole file. Error, before any memory is allocated, if it has more than `limit` bytes.
std::string read_file(const std::string& path, int64_t limit);

// A file that appears completely or not at all: written as <path>.tmp-<pid>, renamed to `path` by commit(), removed if
// commit() is never reached. The target of a symbolic link is replaced, not the link. Devices and pipes, and whatever
// /dev/stdout and the like stand for, are written to directly.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile& operator=(AtomicFile&&) = delete;
  void write(const void* from, int64_t bytes);
  void write(std::string_view text) { write(text.data(), int64_t(text.size())); }
  void commit();

 private:
  std::string path_, target_, temporary_;  // as given; the file to replace; the one written until then, "" for a device
  int descriptor_ = -1;
};

void write_file(const std::string& path, std::string_view content);
// Removes from a folder what killed programs have left there: files and folders <name>.tmp-<pid> without a process <pid>.
void remove_leftovers(const std::string& folder);
void make_folder(const std::string& path);  // and its parents; it may exist

}  // namespace acinus
