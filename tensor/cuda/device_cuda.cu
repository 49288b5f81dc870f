// A real GPU, by CUDA's runtime.
#ifdef __CUDACC__
#include <algorithm>
#include <cstring>
#include <thread>

#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/cuda/kernel.h"
#include "tensor/trace.h"

namespace acinus::cuda {

static int chosen = 0;
static cudaStream_t the_stream = nullptr;
static std::thread::id the_thread;

__global__ static void probe() {}

void check_result(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // or it would be reported once more
  fail("GPU: ", what, ": ", cudaGetErrorString(result));
}

static std::string version(int v) { return text(v / 1000, ".", v % 1000 / 10); }

// Why there is no GPU at all, "" if there is one; determined once.
static const std::string& no_gpu() {
  static const std::string reason = [] {
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result == cudaSuccess && count > 0) return std::string();
    cudaGetLastError();
    int driver = 0;
    cudaDriverGetVersion(&driver);
    if (result == cudaErrorInsufficientDriver && driver > 0)
      return text("the NVIDIA driver is too old: it knows CUDA ", version(driver), ", this program was built with ",
                  version(CUDART_VERSION), "; update the driver, or build with an older CUDA");
    if (result == cudaErrorInsufficientDriver || driver == 0) return std::string("there is no NVIDIA driver");
    if (result == cudaErrorNoDevice || result == cudaSuccess) return std::string("the NVIDIA driver finds no GPU");
    return std::string(cudaGetErrorString(result));
  }();
  return reason;
}

// The code in this program that GPU `index` would run; an error if there is none.
static cudaError_t code_for(int index, cudaFuncAttributes& code) {
  cudaError_t result = cudaSetDevice(index);
  if (result == cudaSuccess) result = cudaFuncGetAttributes(&code, probe);
  cudaGetLastError();
  return result;
}

// Why GPU `index` cannot be used, "" if it can. (Not cached: use() may choose another where the first cannot.)
static std::string problem_of(int index) {
  if (!no_gpu().empty()) return no_gpu();
  cudaFuncAttributes code;
  const cudaError_t result = code_for(index, code);
  if (result == cudaSuccess) return "";
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return cudaGetErrorString(result);
  return text("cuda:", index, ", ", properties.name, " of compute capability ", properties.major, ".", properties.minor,
              ", does not run this program (", cudaGetErrorString(result),
              "); build it on this machine, or with CUDA_ARCH=sm_", properties.major, properties.minor);
}

static void need_gpu(const std::string& problem) {
  if (!problem.empty()) fail("there is no GPU to use: ", problem, ". Use --device cpu");
}

bool available() { return problem_of(chosen).empty(); }
bool emulated() { return false; }

std::string description() {
  if (!available()) return problem_of(chosen);
  cudaDeviceProp properties;
  check_result(cudaGetDeviceProperties(&properties, chosen), "cudaGetDeviceProperties");
  return text(properties.name, " (cuda:", chosen, "), ", properties.totalGlobalMem >> 30, " GB, CUDA ",
              version(CUDART_VERSION));
}

void use(int index) {
  need_gpu(no_gpu());
  int count = 0;
  check_result(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (index < 0 || index >= count)
    fail("there is no GPU cuda:", index, "; there are ", count, ", from --device cuda:0 on");
  check(!the_stream || index == chosen, "cuda::use: another GPU is in use already");
  const std::string problem = problem_of(index);
  if (!problem.empty()) fail(problem);
  chosen = index;
}

// Created on the first call.
cudaStream_t stream() {
  if (the_stream) {
    check(std::this_thread::get_id() == the_thread,
          "a second thread of the CPU uses the GPU; only one may, see device.h");
    return the_stream;
  }
  need_gpu(problem_of(chosen));
  the_thread = std::this_thread::get_id();
  check_result(cudaSetDevice(chosen), "cudaSetDevice");
  check_result(cudaStreamCreateWithFlags(&the_stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return the_stream;
}

int processors() {
  static const int count = [] {
    stream();
    int n = 0;
    check_result(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, chosen), "cudaDeviceGetAttribute");
    return n;
  }();
  return count;
}

// What the code was compiled for counts, not the GPU: code for older ones runs here too, but without the kernels for
// tensor cores (conv/cuda).
bool has_tensor_cores() {
  static int checked = -1;
  static bool has;
  if (checked != chosen) {
    cudaFuncAttributes code;
    check_result(code_for(chosen, code), "cudaFuncGetAttributes");
    has = code.ptxVersion >= 80;
    checked = chosen;
  }
  return has;
}

int64_t shared_bytes_a_block() {
  int bytes = 0;
  check_result(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, chosen),
               "cudaDeviceGetAttribute");
  return bytes;
}

static void not_while_recording(const char* what) {
  check(!recording_graph, what, " while a Graph is recorded: a result is only there when the graph runs");
}

void check_launch(const char* kernel) {
  cudaError_t result = cudaGetLastError();
  if (result == cudaSuccess && synchronize_each && !recording_graph) result = cudaStreamSynchronize(the_stream);
  if (result == cudaSuccess) return;
  const std::string& scope = Scope::current();
  fail("GPU: kernel ", readable(kernel), scope.empty() ? "" : " in ", scope, ": ", cudaGetErrorString(result),
       synchronize_each ? "" : ". (It may have been an earlier kernel: ACINUS_SYNC=1 in the environment tells which)");
}

void synchronize() {
  if (!the_stream) return;
  not_while_recording("synchronize");
  const cudaError_t result = cudaStreamSynchronize(the_stream);
  if (result != cudaSuccess)
    fail("GPU: a kernel failed: ", cudaGetErrorString(result),
         synchronize_each ? "" : ". ACINUS_SYNC=1 in the environment tells which");
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

void release(void* block) {
  cudaStreamSynchronize(the_stream);  // kernels in the queue may use it still; if one failed, that has been reported
  cudaFree(block);
}

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
    const size_t part = size_t(std::min(bytes - at, Staging::bytes));
    char *buffer = staging.next(), *target = static_cast<char*>(to) + at;
    const char* source = static_cast<const char*>(from) + at;
    if (to_device == Device::cuda) {
      std::memcpy(buffer, source, part);
      check_result(cudaMemcpyAsync(target, buffer, part, cudaMemcpyHostToDevice, stream()), "a copy to the GPU");
      check_result(cudaEventRecord(staging.read[staging.turn], stream()), "cudaEventRecord");
    } else {
      check_result(cudaMemcpyAsync(buffer, source, part, cudaMemcpyDeviceToHost, stream()), "a copy from the GPU");
      synchronize();
      std::memcpy(target, buffer, part);
    }
  }
}

std::function<void()> record(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  // "relaxed", since the pool may still have to grow meanwhile.
  check_result(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  const ScopedValue<bool> flag(recording_graph, true);
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(the_stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check_result(cudaStreamEndCapture(the_stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t result = cudaGraphInstantiateWithFlags(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_result(result, "cudaGraphInstantiate");
  const std::shared_ptr<std::remove_pointer_t<cudaGraphExec_t>> owner(executable, [](cudaGraphExec_t unused) {
    cudaStreamSynchronize(the_stream);
    cudaGraphExecDestroy(unused);
  });
  return [owner] { check_result(cudaGraphLaunch(owner.get(), stream()), "cudaGraphLaunch"); };
}

}  // namespace acinus::cuda
#endif
