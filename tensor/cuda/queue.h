// How work reaches the GPU, or what stands in for it: device.h's inner side, for kernel.h, graph.cpp and the three builds
// of the device (device_cuda.cu, device_emulated.cpp, device_none.cpp).
#pragma once
#include <functional>
#include <memory>
#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

namespace acinus::cuda {

#ifdef __CUDACC__
cudaStream_t stream();                                    // created on the first call
void check_result(cudaError_t result, const char* what);  // Error unless it is a success
void check_launch(const char* kernel);                    // the same after the launch of a kernel
#else
void enqueue(std::function<void()> work);  // runs it, or keeps it for the Graph that is being recorded
#endif

extern bool sync_each;     // synchronize_each()
extern bool in_recording;  // recording_graph()

// What a Graph has recorded.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};
// Calls `work`, which asks the GPU for nothing now: its kernels and copies are recorded.
std::unique_ptr<Recording> record(const std::function<void()>& work);

}  // namespace acinus::cuda
