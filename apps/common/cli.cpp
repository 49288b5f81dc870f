#include "apps/common/cli.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tensor/cuda/device.h"
#include "tensor/profile.h"
#include "tensor/text.h"

namespace acinus {

namespace fs = std::filesystem;

// A thread of OpenMP that waits for the others spins for some milliseconds. If another program keeps one of the others
// off its core, spinning is all that the rest do: a training step then took ten times as long. Not to spin at all is
// as bad where cores are free: between two ops, waking a sleeping thread takes as long as a small op. So spin for less
// than 0.1 ms. (Chosen on two busy cores, with the laptop preset's network: a forward pass took about 0.7 of its time without
// spinning. GOMP_SPINCOUNT takes precedence over the policy's count. LLVM's library only knows the policy.)
// GCC's OpenMP library reads both from the environment once, when it is loaded, which is before main and before any
// constructor of ours, and has no function to change them. So set them and start the program again; see run_program for
// debuggers.
static void restart_with_brief_spinning([[maybe_unused]] char** argv) {
#ifdef _OPENMP
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  setenv("GOMP_SPINCOUNT", "5000", 1);
  execv("/proc/self/exe", argv);  // returns only where there is no /proc; then threads spin for longer
#endif
}

static int call(char** argv, const std::function<int()>& body) {
  const std::string called = argv[0], name = fs::path(called).filename().string();
  try {
    return body();
  } catch (const Interrupted& interrupted) {
    std::fprintf(stderr, "stopped\n");
    return 128 + interrupted.signal;
  } catch (const UsageError& e) {
    std::fprintf(stderr, "%s: %s; try %s --help\n", name.c_str(), e.what(), called.c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n", name.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
  }
  return 1;
}

int run_program(char** argv, const std::function<int()>& body) {
  restart_with_brief_spinning(argv);
  const char* set = std::getenv("ACINUS_PROFILE");
  const std::string wanted = set ? set : "";
  if (wanted.empty() || wanted == "0") return call(argv, body);
  cuda::synchronize_each = true;  // or the GPU would still be busy with an op when the next ones are timed
  Profile profile;
  const int code = call(argv, body);
  std::fflush(stdout);  // the program's last lines first, where both go to one file
  std::fprintf(stderr, "\n%s", profile_table(profile.rows()).c_str());
  return code;
}

static volatile sig_atomic_t noted = 0;

void note_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { noted = signal; };
  action.sa_flags = int(SA_RESETHAND | SA_RESTART);  // the default handler next time; reads and writes are restarted
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int noted_signal() { return noted; }

void throw_if_interrupted() {
  if (noted) throw Interrupted{noted};
}

bool is_terminal() { return isatty(STDOUT_FILENO); }

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string minutes(double seconds) {
  const auto whole = int64_t(seconds + 0.5);
  return text(whole / 60, ":", whole % 60 / 10, whole % 10);
}

bool is_taken(const std::string& path) { return fs::exists(path) && !(fs::is_directory(path) && fs::is_empty(path)); }

std::string fresh_folder(const std::string& name) {
  std::string folder = name;
  for (int i = 2; is_taken(folder); i++) folder = name + "-" + std::to_string(i);
  return folder;
}

static size_t terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

Progress::~Progress() {
  if (shown_) std::printf("\r\033[K"), std::fflush(stdout);
}

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  total_ = std::max<int64_t>(total, 1);
  done = std::clamp<int64_t>(done, 0, total_);
  const double now = seconds_now();
  if (!is_terminal() || (shown_ && done < total_ && now - last_ < 0.15)) return;
  last_ = now;
  shown_ = true;
  const int64_t width = 20, filled = width * done / total_;
  std::string line =
      text(label_, "  [", std::string(filled, '#'), std::string(width - filled, '.'), "]  ", done, "/", total_);
  if (done > 0) line += "  ETA " + minutes((now - start_) / double(done) * double(total_ - done));
  if (!note.empty()) line += "  " + note;
  // A line that the terminal breaks in two could not be taken back.
  line.resize(std::min(line.size(), terminal_columns() - 1));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

}  // namespace acinus
