#include "tensor/cuda/device.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tensor/autograd.h"
#include "tensor/cuda/kernel.h"
#include "tensor/memory.h"

namespace acinus::cuda {

static bool wanted_by_environment() {
  const char* value = std::getenv("ACINUS_SYNC");
  return value && std::string(value) == "1";
}
static bool sync_each = wanted_by_environment();
void synchronize_each(bool on) { sync_each = on; }

std::string readable(const char* kernel) {
  int status = 0;
  char* text = abi::__cxa_demangle(kernel, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : kernel;
  std::free(text);
  return name;
}

#ifdef __CUDACC__
// ---- a real GPU -------------------------------------------------------------------------------------------------

static int chosen = 0;
static cudaStream_t the_stream = nullptr;
static std::thread::id the_thread;

void check_result(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // or it would be reported once more
  fail("GPU: ", what, ": ", cudaGetErrorString(result));
}

__global__ void probe() {}

// What code for the chosen GPU this program holds: an error if none.
static cudaError_t code_for(int index, cudaFuncAttributes& code) {
  cudaError_t result = cudaSetDevice(index);
  if (result == cudaSuccess) result = cudaFuncGetAttributes(&code, probe);
  cudaGetLastError();
  return result;
}

// Why GPU `index` cannot be used, "" if it can.
static std::string problem_of(int index) {
  cudaFuncAttributes code;
  const cudaError_t result = code_for(index, code);
  if (result == cudaSuccess) return "";
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return cudaGetErrorString(result);
  return text("cuda:", index, ", ", properties.name, " of compute capability ", properties.major, ".", properties.minor,
              ", does not run this program (", cudaGetErrorString(result),
              "); build it on this machine, or with CUDA_ARCH=sm_", properties.major, properties.minor);
}

// Why there is no GPU at all, "" if there is one; asked once.
static const std::string& no_gpu() {
  static const std::string reason = [] {
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result == cudaSuccess && count > 0) return std::string();
    cudaGetLastError();
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const auto version = [](int v) { return text(v / 1000, ".", v % 1000 / 10); };
    if (result == cudaErrorInsufficientDriver && driver > 0)
      return text("the NVIDIA driver is too old: it knows CUDA ", version(driver), ", this program was built with ",
                  version(runtime), "; update the driver, or build with an older CUDA");
    if (result == cudaErrorInsufficientDriver || driver == 0) return std::string("there is no NVIDIA driver");
    if (result == cudaErrorNoDevice || result == cudaSuccess) return std::string("the NVIDIA driver finds no GPU");
    return std::string(cudaGetErrorString(result));
  }();
  return reason;
}

// Why the chosen one cannot be used, "" if it can. (Another may be chosen where the first cannot.)
static std::string why_not() { return no_gpu().empty() ? problem_of(chosen) : no_gpu(); }

bool available() { return why_not().empty(); }
bool emulated() { return false; }

static void need_gpu() {
  if (!available()) fail("there is no GPU to use: ", why_not(), ". Use --device cpu");
}

std::string description() {
  if (!available()) return why_not();
  cudaDeviceProp properties;
  check_result(cudaGetDeviceProperties(&properties, chosen), "cudaGetDeviceProperties");
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  return text(properties.name, " (cuda:", chosen, "), ", properties.totalGlobalMem >> 30, " GB, CUDA ", runtime / 1000,
              ".", runtime % 1000 / 10);
}

void use(int index) {
  if (!no_gpu().empty()) need_gpu();
  int count = 0;
  check_result(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (index < 0 || index >= count)
    fail("there is no GPU cuda:", index, "; there are ", count, ", from --device cuda:0 on");
  check(!the_stream || index == chosen, "cuda::use: another GPU is in use already");
  const std::string problem = problem_of(index);
  if (!problem.empty()) fail(problem);
  chosen = index;
}

// Made when it is first asked for.
cudaStream_t stream() {
  if (the_stream) {
    check(std::this_thread::get_id() == the_thread,
          "the GPU is asked for work by a second thread of the CPU; see device.h");
    return the_stream;
  }
  need_gpu();
  the_thread = std::this_thread::get_id();
  check_result(cudaSetDevice(chosen), "cudaSetDevice");
  check_result(cudaStreamCreateWithFlags(&the_stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return the_stream;
}

// The code counts, not the GPU: what was compiled for older ones runs here too, without the kernels (product.h).
bool has_tensor_cores() {
  static int asked = -1;
  static bool has;
  if (asked != chosen) {
    cudaFuncAttributes code;
    check_result(code_for(chosen, code), "cudaFuncGetAttributes");
    has = code.ptxVersion >= 80;
    asked = chosen;
  }
  return has;
}

static bool in_recording = false;
bool recording_graph() { return in_recording; }

static void not_while_recording(const char* what) {
  check(!in_recording, what, " while a Graph is recorded: a result is only there when the graph runs");
}

void check_launch(const char* kernel) {
  cudaError_t result = cudaGetLastError();
  if (result == cudaSuccess && sync_each && !in_recording) result = cudaStreamSynchronize(the_stream);
  if (result == cudaSuccess) return;
  const std::string& scope = Scope::current();
  fail("GPU: kernel ", readable(kernel), scope.empty() ? "" : " in ", scope, ": ", cudaGetErrorString(result),
       sync_each ? "" : ". (It may have been an earlier kernel: ACINUS_SYNC=1 in the environment tells which)");
}

void synchronize() {
  if (!the_stream) return;
  not_while_recording("synchronize");
  const cudaError_t result = cudaStreamSynchronize(the_stream);
  if (result != cudaSuccess)
    fail("GPU: a kernel failed: ", cudaGetErrorString(result),
         sync_each ? "" : ". ACINUS_SYNC=1 in the environment tells which");
}

void* allocate(int64_t bytes) {
  stream();
  void* block = nullptr;
  const cudaError_t result = cudaMalloc(&block, size_t(bytes));
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_result(result, "cudaMalloc");
  return block;
}

void release(void* block) { cudaFree(block); }  // after a failed kernel this fails too; it has been reported

void fill_bytes(void* block, int value, int64_t bytes) {
  check_result(cudaMemsetAsync(block, value, size_t(bytes), stream()), "cudaMemset");
}

// Page-locked memory, which the GPU reads and writes by itself. Two buffers take turns: while the GPU reads one, the
// CPU fills the other.
namespace {
struct Staging {
  static constexpr int64_t bytes = 4 << 20;
  char* buffer[2] = {};
  cudaEvent_t read[2] = {};  // the GPU has read it
  int turn = 0;

  char* next() {
    turn = 1 - turn;
    if (!buffer[turn]) {
      check_result(cudaMallocHost(&buffer[turn], bytes), "cudaMallocHost");
      check_result(cudaEventCreateWithFlags(&read[turn], cudaEventDisableTiming), "cudaEventCreate");
    } else {
      check_result(cudaEventSynchronize(read[turn]), "a copy to the GPU, or a kernel before it");
    }
    return buffer[turn];
  }
};
}  // namespace

void copy(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
  if (bytes == 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, size_t(bytes));
    return;
  }
  if (to_device == from_device) {
    check_result(cudaMemcpyAsync(to, from, size_t(bytes), cudaMemcpyDeviceToDevice, stream()), "a copy on the GPU");
    return;
  }
  not_while_recording("a copy between CPU and GPU");
  static Staging staging;
  for (int64_t at = 0; at < bytes; at += Staging::bytes) {
    const auto piece = size_t(bytes - at < Staging::bytes ? bytes - at : Staging::bytes);
    char *buffer = staging.next(), *target = static_cast<char*>(to) + at;
    const char* source = static_cast<const char*>(from) + at;
    if (to_device == Device::cuda) {
      std::memcpy(buffer, source, piece);
      check_result(cudaMemcpyAsync(target, buffer, piece, cudaMemcpyHostToDevice, stream()), "a copy to the GPU");
      check_result(cudaEventRecord(staging.read[staging.turn], stream()), "cudaEventRecord");
    } else {
      check_result(cudaMemcpyAsync(buffer, source, piece, cudaMemcpyDeviceToHost, stream()), "a copy from the GPU");
      check_result(cudaEventRecord(staging.read[staging.turn], stream()), "cudaEventRecord");
      synchronize();
      std::memcpy(target, buffer, piece);
    }
  }
}

struct Graph::State {
  memory::Pool pool = memory::make_pool(Device::cuda);
  int runs = 0;
  cudaGraphExec_t recorded = nullptr;

  ~State() {
    if (!recorded) return;
    cudaStreamSynchronize(the_stream);
    cudaGraphExecDestroy(recorded);
  }
  void record(const std::function<void()>& work);
  void replay() { check_result(cudaGraphLaunch(recorded, stream()), "cudaGraphLaunch"); }
};

void Graph::State::record(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  // "relaxed", since the pool may still have to grow meanwhile.
  check_result(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  in_recording = true;
  try {
    work();
  } catch (...) {
    in_recording = false;
    cudaStreamEndCapture(the_stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  in_recording = false;
  check_result(cudaStreamEndCapture(the_stream, &graph), "cudaStreamEndCapture");
  const cudaError_t result = cudaGraphInstantiateWithFlags(&recorded, graph, 0);
  cudaGraphDestroy(graph);
  check_result(result, "cudaGraphInstantiate");
}

#else
// ---- emulated, or none ------------------------------------------------------------------------------------------

#ifdef ACINUS_EMULATE
bool available() { return true; }
bool emulated() { return true; }
bool has_tensor_cores() { return true; }
std::string description() { return "emulated on the CPU, which is slow and for tests"; }
static void need_gpu() {}
#else
bool available() { return false; }
bool emulated() { return false; }
bool has_tensor_cores() { return false; }
std::string description() { return "built without CUDA"; }
static void need_gpu() {
  fail(
      "there is no GPU to use: this program was built without CUDA. Install NVIDIA's CUDA Toolkit (nvcc) and run make "
      "again, or use --device cpu");
}
#endif

void use(int index) {
  need_gpu();
  if (index != 0) fail("there is no GPU cuda:", index, "; there is one, --device cuda:0");
}
void synchronize() {}

static std::vector<std::function<void()>>* recording = nullptr;
bool recording_graph() { return recording != nullptr; }

// At once, or when the graph that is being recorded runs.
static void do_or_record(std::function<void()> work) {
  if (recording)
    recording->push_back(std::move(work));
  else
    work();
}

#ifdef ACINUS_EMULATE
void launch(emulate::Launch launch) {
  do_or_record([launch = std::move(launch)] { emulate::run(launch); });
}
#endif

void* allocate(int64_t bytes) {
  need_gpu();
  void* block = nullptr;
  return posix_memalign(&block, 256, size_t(bytes)) == 0 ? block : nullptr;  // as cudaMalloc aligns
}
void release(void* block) { std::free(block); }
void fill_bytes(void* block, int value, int64_t bytes) {
  do_or_record([=] { std::memset(block, value, size_t(bytes)); });
}
void copy(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
  if (bytes == 0) return;
  check(to_device == from_device || !recording,
        "a copy between CPU and GPU while a Graph is recorded: a result is only there when the graph runs");
  const auto work = [=] { std::memcpy(to, from, size_t(bytes)); };
  if (to_device == Device::cuda)
    do_or_record(work);
  else
    work();
}

struct Graph::State {
  memory::Pool pool = memory::make_pool(Device::cuda);
  int runs = 0;
  std::vector<std::function<void()>> recorded;

  void record(const std::function<void()>& work) {
    recorded.clear();
    recording = &recorded;
    try {
      work();
    } catch (...) {
      recording = nullptr;
      throw;
    }
    recording = nullptr;
  }
  void replay() {
    for (const auto& work : recorded) work();
  }
};
#endif

// ---- the same in every build --------------------------------------------------------------------------------------

Graph::Graph() : state_(new State) {}
Graph::~Graph() = default;

void Graph::run(const std::function<void()>& work) {
  if (sync_each) return work();  // a failure within a replay would have no name
  if (state_->runs < 2) {
    const memory::UsingPool using_pool(state_->pool);
    if (state_->runs == 0)
      work();
    else
      state_->record(work);
  }
  if (state_->runs > 0) state_->replay();
  state_->runs++;
}

}  // namespace acinus::cuda
