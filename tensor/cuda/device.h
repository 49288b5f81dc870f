// The GPU, as the rest of the library sees it: one per process, its memory, and the order in which it works.
//
// Kernels and copies go into one queue (a CUDA *stream*) and are executed in that order, while the CPU goes on. The CPU
// waits only where it needs a result: item(), to_vector(), .to(Device::cpu), synchronize(). Only one thread of the CPU
// may use the GPU.
//
// There are three builds. Where make finds CUDA's compiler, kernels are compiled for the GPU (device_cuda.cu). With
// EMULATE=1 they are compiled for the CPU, and "cuda" is an emulated device (device_emulated.cpp, emulate.h): slow, for
// tests and for stepping through a kernel in a debugger. With neither there is no GPU, and trying to use one throws
// an Error that says so (device.cpp).
#pragma once
#include <string>

#include "tensor/dtype.h"

namespace acinus::cuda {

bool available();           // is there a GPU, real or emulated?
bool emulated();            // is it emulated?
std::string description();  // "NVIDIA H100 80GB HBM3 (cuda:0), 79 GB, CUDA 13.0", or why there is none
void use(int index);        // selects one of several GPUs, before the first tensor on it. Error if there is no such GPU
bool has_tensor_cores();    // for bfloat16 and TF32: compute capability 8.0 (2020) and later
int64_t shared_bytes_a_block();  // the most that a block of threads may have: 227 KB on an H100, 99 KB on many others

void synchronize();  // waits until all is done. Error if a kernel has failed
// Wait after every kernel, so that a failure is reported where it happened, and a kernel's time is its own. Slow.
// ACINUS_SYNC=1 in the environment switches it on, too.
extern bool synchronize_each;

// ---- for tensors, memory and messages

// The name of a kernel, or of a C++ type as typeid gives it: MapBody<Add, ...>
std::string readable(const char* kernel);
extern bool recording_graph;  // is a Graph (graph.h) being recorded?

void* allocate(int64_t bytes);  // null if there is no more
void release(void* block);
void fill_bytes(void* block, int value, int64_t bytes);
// Between CPU and GPU through page-locked buffers of our own, which the GPU reads by itself: so the CPU does not wait
// for a copy to the GPU to end, and may change `from` at once.
void copy(void* to, Device to_device, const void* from, Device from_device, int64_t bytes);

}  // namespace acinus::cuda
