// HD marks a function that must compile for the CPU and for the GPU.
#pragma once

#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif
