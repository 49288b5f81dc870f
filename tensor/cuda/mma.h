// The instructions that fast kernels are made of, each as a function: products of small matrices on tensor cores, loads
// from shared memory in the layout that they want, and copies into shared memory that run while a thread goes on. CUDA
// has names for few of them, so here they are in PTX, NVIDIA's assembly language; the PTX ISA manual is the reference.
// Without a GPU, emulate_mma.cpp executes them by the same manual. docs/kernels.md introduces them one by one.
//
// The 32 threads of a warp execute each of these together, and hold a small matrix together, as a *fragment*. With
// lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, a lane holds of
//
//   A (16 x 16 of bfloat16)    register r, half e:  row g + r % 2 * 8,      column 2 * t + r / 2 * 8 + e
//   B (16 x 8)                 register r, half e:  row 2 * t + r * 8 + e,  column g
//   D (16 x 8 of float)        number e:            row g + e / 2 * 8,      column 2 * t + e % 2
//
// and of float32 (TF32) 8 columns of A and rows of B, one number a register: A (g + r % 2 * 8, t + r / 2 * 4),
// B (t + r * 4, g).
#pragma once
#include "tensor/cuda/kernel.h"

#ifdef ACINUS_KERNELS
namespace acinus {

#ifdef ACINUS_EMULATE

// emulate_mma.cpp; each is explained below, at its PTX.
uint32_t shared_address(const void* pointer);
void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t address);
void ldmatrix_x4_trans(uint32_t (&matrices)[4], uint32_t address);
void load_shared_16(uint32_t (&words)[4], uint32_t address);
void load_shared_8(uint32_t (&words)[2], uint32_t address);
uint32_t load_shared_4(uint32_t address);
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
uint32_t round_tf32(uint32_t bits);
void copy_async_16(uint32_t to, const void* from, bool inside);
inline void copy_async_16_if(bool wanted, uint32_t to, const void* from, bool inside) {
  if (wanted) copy_async_16(to, from, inside);
}
void copy_async_commit();
void copy_async_wait(int newest);
template <int Newest>
void copy_async_wait() {
  copy_async_wait(Newest);
}
uint32_t shuffle_xor(uint32_t value, int mask);
inline uint32_t uniform(uint32_t value) { return value; }
uint32_t pack_bf16(float low, float high);
uint32_t max_bf16x2(uint32_t a, uint32_t b);
void fence_async_proxy();
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int newest);
template <int Newest>
void wgmma_wait() {
  wgmma_wait(Newest);
}
void wgmma_bf16(float* d, int columns, const uint32_t (&a)[4], uint64_t b);
template <int N>
void wgmma_bf16(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b) {
  wgmma_bf16(&d[0][0], N, a, b);
}

#else

// GPUs before compute capability 8.0 lack some of these: for them the kernels are compiled but trap, and
// choose_algorithm never selects them. Only Hopper, compiled for as sm_90a, has wgmma (conv3x3_hopper.cu).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define ACINUS_PTX(...) __trap()
#else
#define ACINUS_PTX(...) asm volatile(__VA_ARGS__)
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define ACINUS_PTX_90A(...) asm volatile(__VA_ARGS__)
#else
#define ACINUS_PTX_90A(...) __trap()
#endif
// The four registers of an array, as operands.
#define ACINUS_4(constraint, x) constraint((x)[0]), constraint((x)[1]), constraint((x)[2]), constraint((x)[3])

// Within shared memory, addresses have 32 bits.
__device__ inline uint32_t shared_address(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

// Four matrices of 8 x 8 bfloat16 (or 8 x 4 of float) from shared memory: lane i gives the address of row i % 8 of
// matrix i / 8, 16 bytes, and gets of matrix r, in matrices[r], the numbers (g, 2t) and (g, 2t + 1): a fragment of A,
// if the four are its quarters, upper left, lower left, upper right, lower right.
__device__ inline void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t address) {
  ACINUS_PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
             : ACINUS_4("=r", matrices)
             : "r"(address)
             : "memory");
}
// The same, each of them transposed: (2t, g) and (2t + 1, g).
__device__ inline void ldmatrix_x4_trans(uint32_t (&matrices)[4], uint32_t address) {
  ACINUS_PTX("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
             : ACINUS_4("=r", matrices)
             : "r"(address)
             : "memory");
}
// 16, 8 or 4 bytes of each lane's own from shared memory.
__device__ inline void load_shared_16(uint32_t (&words)[4], uint32_t address) {
  ACINUS_PTX("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : ACINUS_4("=r", words) : "r"(address) : "memory");
}
__device__ inline void load_shared_8(uint32_t (&words)[2], uint32_t address) {
  ACINUS_PTX("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "r"(address) : "memory");
}
__device__ inline uint32_t load_shared_4(uint32_t address) {
  uint32_t word = 0;
  ACINUS_PTX("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

// d += a * b, of bfloat16 and of TF32 (which looks only at the first 10 binary digits of a factor: round_tf32).
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ACINUS_PTX("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
             : ACINUS_4("+f", d)
             : ACINUS_4("r", a), "r"(b0), "r"(b1));
}
__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ACINUS_PTX("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
             : ACINUS_4("+f", d)
             : ACINUS_4("r", a), "r"(b0), "r"(b1));
}
// Rounds a float, given by its bits, to the nearest number with 10 binary digits, ties away from zero.
__device__ inline uint32_t round_tf32(uint32_t bits) {
  uint32_t rounded = 0;
  ACINUS_PTX("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
}

// Starts to copy 16 bytes from memory into shared memory, bypassing the registers; if not `inside`, zeros, and `from`
// may be any address. The copies since the last commit are a group. wait<N> waits until all groups but the newest N
// have arrived, of the thread's own copies: for other threads' a barrier must follow.
__device__ inline void copy_async_16(uint32_t to, const void* from, bool inside) {
  ACINUS_PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
// The same if `wanted`. An if statement would become a branch, past which the compiler moves nothing.
__device__ inline void copy_async_16_if(bool wanted, uint32_t to, const void* from, bool inside) {
  ACINUS_PTX(
      "{.reg .pred wanted; setp.ne.u32 wanted, %3, 0; @wanted cp.async.cg.shared.global [%0], [%1], 16, %2;}" ::"r"(to),
      "l"(from), "r"(inside ? 16 : 0), "r"(unsigned(wanted))
      : "memory");
}
__device__ inline void copy_async_commit() { ACINUS_PTX("cp.async.commit_group;" ::: "memory"); }
template <int Newest>
__device__ inline void copy_async_wait() {
  ACINUS_PTX("cp.async.wait_group %0;" ::"n"(Newest) : "memory");
}

// The value of lane ^ mask.
__device__ inline uint32_t shuffle_xor(uint32_t value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// A value that is the same in all lanes. The compiler, which may not see that, then keeps it in a uniform register.
__device__ inline uint32_t uniform(uint32_t value) { return __shfl_sync(0xffffffffu, value, 0); }

// Two bfloat16 in one register, rounded to the nearest; and the greater of each two, NaN if one of them is.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed = 0;
  ACINUS_PTX("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ inline uint32_t max_bf16x2(uint32_t a, uint32_t b) {
  uint32_t larger = 0;
  ACINUS_PTX("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
  return larger;
}

// ---- Hopper: the four warps of a *warp group* multiply 64 x 16 by 16 x N, B from shared memory, while they go on --
//
// Each warp has 16 rows of A in registers, a fragment as above, and N/8 fragments of D side by side. B is described by
// wgmma_descriptor. Registers that were written must be fenced before the first product. The products until the commit
// are a group; D, A's registers and B must be left alone until it has been waited for. Copies that copy_async made
// reach wgmma only through fence_async_proxy, between the wait for them and the barrier.
__device__ inline void fence_async_proxy() { ACINUS_PTX_90A("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ inline void wgmma_fence() { ACINUS_PTX_90A("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { ACINUS_PTX_90A("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Newest>
__device__ inline void wgmma_wait() {
  ACINUS_PTX_90A("wgmma.wait_group.sync.aligned %0;" ::"n"(Newest) : "memory");
}

#define ACINUS_D16(i) ACINUS_4("+f", d[i]), ACINUS_4("+f", d[i + 1]), ACINUS_4("+f", d[i + 2]), ACINUS_4("+f", d[i + 3])
template <int N>
__device__ inline void wgmma_bf16(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b) {
  static_assert(N == 32 || N == 64 || N == 128, "the shapes written down here");
  if constexpr (N == 32)
    ACINUS_PTX_90A(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
        "{%16,%17,%18,%19}, %20, 1, 1, 1, 0;"
        : ACINUS_D16(0)
        : ACINUS_4("r", a), "l"(b));
  if constexpr (N == 64)
    ACINUS_PTX_90A(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, 1, 1, 1, 0;"
        : ACINUS_D16(0), ACINUS_D16(4)
        : ACINUS_4("r", a), "l"(b));
  if constexpr (N == 128)
    ACINUS_PTX_90A(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,"
        "%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,"
        "%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
        "{%64,%65,%66,%67}, %68, 1, 1, 1, 0;"
        : ACINUS_D16(0), ACINUS_D16(4), ACINUS_D16(8), ACINUS_D16(12)
        : ACINUS_4("r", a), "l"(b));
}
#endif

// Multiplies by Count fragments of B side by side, in bfloat16 or, if T is float, in TF32: d[j] += a * fragment j. Each
// b[i] holds two fragments.
template <class T, int Count>
__device__ void mma(float (*d)[4], const uint32_t (&a)[4], const uint32_t (*b)[4]) {
  ACINUS_UNROLL
  for (int j = 0; j < Count; j++) {
    const uint32_t* half = b[j / 2] + j % 2 * 2;
    if constexpr (sizeof(T) == 2)
      mma_bf16(d[j], a, half[0], half[1]);
    else
      mma_tf32(d[j], a, half[0], half[1]);
  }
}
// Loads a fragment of A, and rounds float to TF32.
template <class T>
__device__ void load_fragment(uint32_t (&a)[4], uint32_t address) {
  ldmatrix_x4(a, address);
  if constexpr (sizeof(T) == 4) {
    ACINUS_UNROLL
    for (uint32_t& number : a) number = round_tf32(number);
  }
}

// B (16 x N) in shared memory, unswizzled, as *core matrices* of 8 columns x 8 rows, 128 bytes each, a column's 8
// numbers side by side: `leading` bytes from rows 0-7 to rows 8-15, `stride` bytes from 8 columns to the next 8.
HD inline uint64_t wgmma_descriptor(uint32_t address, uint32_t leading, uint32_t stride) {
  return uint64_t(address >> 4 & 0x3fff) | uint64_t(leading >> 4) << 16 | uint64_t(stride >> 4) << 32;
}

}  // namespace acinus
#endif
