#include "apps/common/cli.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "tensor/cuda/device.h"
#include "tensor/profile.h"
#include "tensor/text.h"

namespace acinus {

// A thread of OpenMP that waits for the others spins for some milliseconds. If another program keeps one of the others
// off its core, spinning is all that the rest do: a training step then took ten times as long. GCC's OpenMP library
// reads the policy from the environment once, when it is loaded, which is before main and before any constructor of
// ours, and has no function to change it. So set it and start the program again; see run_program for debuggers.
static void restart_with_passive_waiting([[maybe_unused]] char** argv) {
#ifdef _OPENMP
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // returns only where there is no /proc; then threads spin
#endif
}

static int call(char** argv, const std::function<int()>& body) {
  const std::string called = argv[0], name = std::filesystem::path(called).filename().string();
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
  restart_with_passive_waiting(argv);
  const char* wanted = std::getenv("ACINUS_PROFILE");
  if (!wanted || wanted == std::string("") || wanted == std::string("0")) return call(argv, body);
  cuda::synchronize_each(true);  // or the GPU would still be busy with an op when the next ones are timed
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
  char out[32];
  const auto whole = int64_t(seconds + 0.5);
  std::snprintf(out, sizeof out, "%lld:%02lld", static_cast<long long>(whole / 60), static_cast<long long>(whole % 60));
  return out;
}

std::string fresh_folder(const std::string& name) {
  namespace fs = std::filesystem;
  const auto is_taken = [](const std::string& folder) {
    return fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder));
  };
  std::string folder = name;
  for (int i = 2; is_taken(folder); i++) folder = name + "-" + std::to_string(i);
  return folder;
}

// ---- Progress -------------------------------------------------------------------------------------------------

static size_t terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

Progress::Progress(std::string label, int64_t total)
    : label_(std::move(label)), total_(total), start_(std::chrono::steady_clock::now()), last_(start_) {}

Progress::~Progress() {
  if (shown_) std::printf("\r\033[K"), std::fflush(stdout);
}

void Progress::update(int64_t done, const std::string& note) { update(done, total_, note); }

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  total_ = std::max<int64_t>(total, 1);
  done = std::clamp<int64_t>(done, 0, total_);
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal() || (shown_ && done < total_ && now - last_ < std::chrono::milliseconds(150))) return;
  last_ = now;
  shown_ = true;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const int width = 20, filled = int(width * done / total_);
  std::string line = label_ + "  [" + std::string(size_t(filled), '#') + std::string(size_t(width - filled), '.') +
                     "]  " + std::to_string(done) + "/" + std::to_string(total_);
  if (done > 0) line += "  ETA " + minutes(elapsed / double(done) * double(total_ - done));
  if (!note.empty()) line += "  " + note;
  // A line that the terminal breaks in two could not be taken back.
  line.resize(std::min(line.size(), terminal_columns() - 1));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

}  // namespace acinus
