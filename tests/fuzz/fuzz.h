// Shared by the fuzzers. A fuzzer (libFuzzer, https://llvm.org/docs/LibFuzzer.html) calls LLVMFuzzerTestOneInput with
// millions of damaged files; those that reach new code are kept and damaged further. Each target here writes the bytes
// into a file and reads it. An Error is the expected outcome for a damaged file. A crash, a read out of bounds, an
// overflow, another exception, a hang, or more memory than the limit is a finding, and so is a file that was read but
// differs after it is written and read again.
//
//   make fuzz                    every target for a minute on the sanitizer build; FUZZ_SECONDS=1800 for longer
//   build/asan/fuzz_npy FILE     one input again, to investigate a finding
#pragma once
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tensor/check.h"

namespace acinus {

// A folder of this process, in memory where Linux offers that; removed at the end.
inline const std::string& fuzz_folder() {
  static const std::string folder = [] {
    const std::string memory = "/dev/shm", base = std::filesystem::is_directory(memory) ? memory : "/tmp";
    return text(base, "/acinus-fuzz-", getpid());
  }();
  static const int made = [] {
    std::filesystem::create_directories(folder);
    return std::atexit([] { std::filesystem::remove_all(folder); });
  }();
  if (made != 0) std::abort();
  return folder;
}

inline std::string fuzz_file(const std::string& name, const void* bytes, size_t size) {
  const std::string path = fuzz_folder() + "/" + name;
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file || std::fwrite(bytes, 1, size, file) != size || std::fclose(file) != 0) std::abort();
  return path;
}

// Calls read(path) with the bytes in a file of that name.
template <class F>
int fuzz(const std::string& name, const uint8_t* bytes, size_t size, F read) {
  const std::string path = fuzz_file(name, bytes, size);
  try {
    read(path);
  } catch (const Error&) {
  }
  return 0;
}

// A finding unless it holds. (An Error while writing or re-reading what was read is one too.)
inline void must_hold(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

template <class F>
auto must_work(const char* what, F f) {
  try {
    return f();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", what, error.what());
    std::abort();
  }
}

}  // namespace acinus
