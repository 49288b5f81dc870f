// Every op of tensor/ops.h. One table, a row a case, serves five tests: gradients against finite differences,
// elements nobody writes, gradients that overwrite instead of adding up, float32 against float64, and the same bits
// with any number of threads. Below it: ops against loops written down naively, extreme values, and refusals.
#include <algorithm>
#include <functional>

#include "tensor/cuda/device.h"
#include "tensor/ops.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

using Tensors = std::vector<Tensor>;

// What an input is made of. The first five get a gradient. The first axis of the first four is the batch.
enum Kind {
  image,     // -1 to 1
  off_zero,  // as image, but no value nearer to 0 than 0.1: away from the kink of a ReLU
  distinct,  // values 0.01 apart in random order: away from the ties of a maximum
  share,     // 0.05 to 0.95
  weight,    // -1 to 1
  zero_one,  // 0 or 1                       (a batch first, too)
  classes,   // 0, 1, 2 or 3                 (a batch first, too)
  constant,  // as weight, without a gradient
  positive,  // 0.5 to 1.5
};
bool has_gradient(Kind kind) { return kind <= weight; }
bool has_batch(Kind kind) { return kind <= share || kind == zero_one || kind == classes; }

struct OpInput {
  Shape shape;
  Kind kind = image;
};

struct OpCase {
  const char* name;
  std::vector<OpInput> inputs;
  std::function<Tensor(const Tensors& x)> op;
};

#define OP(...) [](const Tensors& x) -> Tensor { return __VA_ARGS__; }

const auto automatic = ConvAlgorithm::automatic, winograd = ConvAlgorithm::winograd, im2col = ConvAlgorithm::im2col,
           direct = ConvAlgorithm::direct;

// The table names the CPU's algorithms. On the GPU they stand for its own.
Device device = Device::cpu;
bool short_on_cpu = false;  // bfloat16
ConvAlgorithm here(ConvAlgorithm a) {
  if (short_on_cpu) return direct;
  return device == Device::cpu || a == automatic || a == direct ? a : ConvAlgorithm::tiled;
}
struct OnGpu {
  OnGpu() { device = Device::cuda; }
  ~OnGpu() { device = Device::cpu; }
};

// A convolution with weights and bias.
OpCase conv(const char* name, const Shape& x, const Shape& w, Conv2dOptions options) {
  return {name, {{x}, {w, weight}, {{w[3]}, weight}}, [options](const Tensors& in) {
            Conv2dOptions o = options;
            o.algorithm = here(o.algorithm);
            return conv2d(in[0], in[1], in[2], o);
          }};
}
OpCase conv_transpose(const char* name, const Shape& x, const Shape& w, ConvTranspose2dOptions options) {
  return {name, {{x}, {w, weight}, {{w[2]}, weight}}, [options](const Tensors& in) {
            ConvTranspose2dOptions o = options;
            o.algorithm = here(o.algorithm);
            return conv_transpose2d(in[0], in[1], in[2], o);
          }};
}

FusedConv2dOptions fused(ConvAlgorithm algorithm, bool relu = true, bool pool = false) {
  return {{1, 1, 1, here(algorithm)}, relu, pool};
}
Tensor pooled_and_more(const Tensor& y) {
  const Tensor more = scale(y, 3), both = add(y, more);
  return add(scale(more, 2), add(upsample2x(max_pool2d(y)), mul(both, both)));  // backward: both, max_pool2d, more
}
Tensor y_and_pooled(const FusedConv2d& f) { return concat(f.y, upsample2x(f.pooled)); }

// A new op needs one row here, with the shapes that are hardest for it.
const OpCase cases[] = {
    {"add", {{{2, 3, 5, 7}}, {{2, 3, 5, 7}}}, OP(add(x[0], x[1]))},
    {"add: x + x", {{{3, 5}}}, OP(add(x[0], x[0]))},
    {"add: scalars", {{{}, weight}, {{}, weight}}, OP(add(x[0], x[1]))},
    {"mul", {{{3, 1, 5, 3}}, {{3, 1, 5, 3}}}, OP(mul(x[0], x[1]))},
    {"mul: x * x", {{{2, 7}}}, OP(mul(x[0], x[0]))},
    {"mul: by a constant", {{{2, 7}, weight}, {{2, 7}, constant}}, OP(mul(x[0], x[1]))},
    {"scale", {{{2, 3, 3, 3}}}, OP(scale(x[0], -2.5))},
    {"relu", {{{2, 5, 3, 7}, off_zero}}, OP(relu(x[0]))},
    {"leaky_relu", {{{1, 5, 3, 7}, off_zero}}, OP(leaky_relu(x[0]))},
    {"leaky_relu: steep", {{{3, 11}, off_zero}}, OP(leaky_relu(x[0], 1.5))},
    {"sigmoid", {{{2, 1, 7, 5}}}, OP(sigmoid(x[0]))},
    {"dropout", {{{2, 3, 7, 5}}}, OP(dropout(x[0], 0.4, 7))},
    {"dropout: p = 0", {{{2, 9}}}, OP(dropout(x[0], 0, 7))},

    {"sum", {{{3, 5, 7, 2}}}, OP(sum(x[0]))},
    {"sum: large", {{{1, 200, 201}}}, OP(sum(x[0]))},
    {"mean", {{{3, 5, 7, 2}}}, OP(mean(x[0]))},
    {"softmax", {{{2, 3, 5, 3}}}, OP(softmax(x[0]))},
    {"softmax: one class", {{{4, 1}}}, OP(softmax(x[0]))},
    {"softmax: many classes", {{{3, 37}}}, OP(softmax(x[0]))},

    {"reshape", {{{2, 3, 5, 7}}}, OP(reshape(x[0], {x[0].shape()[0] * 3, 35}))},
    {"concat", {{{2, 3, 5, 7}}, {{2, 3, 5, 4}}}, OP(concat(x[0], x[1]))},
    {"concat: (x, x)", {{{1, 1, 5, 3}}}, OP(concat(x[0], x[0]))},
    {"concat: 8 + 4 channels", {{{1, 3, 2, 8}}, {{1, 3, 2, 4}}}, OP(concat(x[0], x[1]))},
    {"concat: 8 + 16 channels", {{{1, 3, 2, 8}}, {{1, 3, 2, 16}}}, OP(concat(x[0], x[1]))},
    {"concat: with a constant", {{{1, 3, 1, 1}}, {{1, 3, 1, 5}, zero_one}}, OP(concat(x[0], x[1]))},
    {"pad2d", {{{2, 3, 5, 3}}}, OP(pad2d(x[0], 1, 2, 0, 3))},
    {"pad2d: crops", {{{2, 7, 5, 3}}}, OP(pad2d(x[0], -1, -2, -3, 0))},
    {"pad2d: crops and pads", {{{1, 4, 5, 1}}}, OP(pad2d(x[0], -1, 2, 3, -2))},
    {"pad2d: 8 channels", {{{2, 2, 3, 8}}}, OP(pad2d(x[0], 1, 0, -1, 2))},
    {"pad2d: nothing of x is left", {{{1, 2, 3, 2}}}, OP(pad2d(x[0], -3, 4, 1, 0))},

    conv("conv2d: winograd", {2, 5, 7, 3}, {3, 3, 3, 5}, {1, 1, 1, winograd}),
    conv("conv2d: winograd, H = 1", {3, 1, 9, 6}, {3, 3, 6, 7}, {1, 1, 1, winograd}),
    conv("conv2d: winograd, unpadded", {1, 9, 6, 5}, {3, 3, 5, 2}, {1, 0, 1, winograd}),
    conv("conv2d: im2col 3x3", {2, 5, 7, 3}, {3, 3, 3, 5}, {1, 1, 1, im2col}),
    conv("conv2d: im2col 3x3, H = 1", {3, 1, 9, 2}, {3, 3, 2, 3}, {1, 1, 1, im2col}),
    {"conv2d: im2col 3x3, unpadded",
     {{{1, 7, 6, 2}}, {{3, 3, 2, 1}, weight}},
     OP(conv2d(x[0], x[1], {}, {1, 0, 1, here(im2col)}))},
    conv("conv2d: im2col 5x5", {1, 6, 5, 3}, {5, 5, 3, 2}, {1, 2, 1, im2col}),
    conv("conv2d: im2col 2x2, even", {2, 4, 5, 1}, {2, 2, 1, 3}, {1, 1, 1, im2col}),
    conv("conv2d: im2col 1x1", {2, 3, 5, 7}, {1, 1, 7, 3}, {1, 0, 1, im2col}),
    conv("conv2d: direct 3x3", {2, 5, 7, 3}, {3, 3, 3, 5}, {1, 1, 1, direct}),
    conv("conv2d: direct 3x3, stride 2", {2, 7, 6, 3}, {3, 3, 3, 4}, {2, 1, 1, direct}),
    conv("conv2d: im2col 3x3, stride 2", {2, 7, 6, 3}, {3, 3, 3, 4}, {2, 1, 1, im2col}),
    conv("conv2d: stride 3 skips pixels", {1, 8, 11, 2}, {2, 2, 2, 3}, {3, 0, 1}),
    conv("conv2d: dilation 2", {1, 7, 8, 3}, {3, 3, 3, 2}, {1, 2, 2}),
    conv("conv2d: stride 2, dilation 2", {2, 9, 9, 3}, {3, 3, 3, 5}, {2, 2, 2}),
    conv("conv2d: stride 4, dilation 2", {1, 13, 12, 2}, {3, 3, 2, 3}, {4, 2, 2}),
    {"conv2d: stride 2, dilation 3", {{{2, 9, 8, 2}}, {{3, 3, 2, 3}, weight}}, OP(conv2d(x[0], x[1], {}, {2, 3, 3}))},
    conv("conv2d: oblong kernel", {2, 5, 6, 3}, {1, 3, 3, 2}, {1, 1, 1}),
    conv("conv2d: 1x1 is a product", {2, 3, 5, 7}, {1, 1, 7, 3}, {}),
    {"conv2d: 1x1, stride 2", {{{1, 5, 4, 3}}, {{1, 1, 3, 2}, weight}}, OP(conv2d(x[0], x[1], {}, {2, 0, 1}))},
    conv("conv2d: 1x1, padded", {1, 2, 3, 3}, {1, 1, 3, 2}, {1, 1, 1}),
    conv("conv2d: 7x7, stride 2", {1, 9, 11, 1}, {7, 7, 1, 2}, {2, 3, 1}),
    conv("conv2d: padding over the kernel", {1, 3, 2, 2}, {3, 3, 2, 3}, {1, 4, 1}),
    conv("conv2d: one pixel", {2, 1, 1, 3}, {3, 3, 3, 2}, {1, 1, 1}),
    {"conv2d: x alone",
     {{{1, 5, 4, 3}}, {{3, 3, 3, 2}, constant}, {{2}, constant}},
     OP(conv2d(x[0], x[1], x[2], {1, 1, 1}))},
    {"conv2d: w alone",
     {{{1, 5, 4, 3}, zero_one}, {{3, 3, 3, 2}, weight}, {{2}, constant}},
     OP(conv2d(x[0], x[1], x[2], {1, 1, 1}))},
    conv("conv2d: large", {1, 61, 67, 9}, {3, 3, 9, 13}, {1, 1, 1}),
    conv("conv2d: large, stride 2", {1, 61, 67, 9}, {3, 3, 9, 13}, {2, 1, 1}),
    {"conv2d_fused: ReLU",
     {{{2, 5, 7, 3}}, {{3, 3, 3, 5}, weight}, {{5}, weight}},
     OP(conv2d_fused({}, x[0], x[1], x[2], fused(winograd)).y)},
    {"conv2d_fused: ReLU, im2col",
     {{{1, 5, 4, 1}}, {{3, 3, 1, 5}, weight}, {{5}, weight}},
     OP(conv2d_fused({}, x[0], x[1], x[2], fused(im2col)).y)},
    {"conv2d_fused: ReLU, direct, no bias",
     {{{1, 5, 4, 3}}, {{3, 3, 3, 2}, weight}},
     OP(conv2d_fused({}, x[0], x[1], {}, fused(direct)).y)},
    {"conv2d_fused: two images",
     {{{2, 3, 5, 16}}, {{2, 6, 10, 3}}, {{3, 3, 19, 5}, weight}, {{5}, weight}},
     OP(conv2d_fused(x[0], x[1], x[2], x[3], fused(winograd)).y)},
    {"conv2d_fused: two images, no ReLU, one pixel",
     {{{3, 1, 1, 16}}, {{3, 2, 2, 1}}, {{3, 3, 17, 2}, weight}},
     OP(conv2d_fused(x[0], x[1], x[2], {}, fused(winograd, false)).y)},
    {"conv2d_fused: two images, copied",
     {{{2, 3, 2, 5}}, {{2, 6, 4, 3}}, {{3, 3, 8, 3}, weight}, {{3}, weight}},
     OP(conv2d_fused(x[0], x[1], x[2], x[3], fused(automatic)).y)},
    {"conv2d_fused: pooled, and y used too",
     {{{2, 6, 10, 3}}, {{3, 3, 3, 5}, weight}, {{5}, weight}},
     OP(y_and_pooled(conv2d_fused({}, x[0], x[1], x[2], fused(winograd, true, true))))},
    {"conv2d_fused: pooled, odd sizes",
     {{{1, 7, 5, 3}}, {{3, 3, 3, 5}, weight}, {{5}, weight}},
     OP(conv2d_fused({}, x[0], x[1], x[2], fused(winograd, true, true)).pooled)},
    {"conv2d_fused: pooled, im2col, no ReLU",
     {{{1, 6, 4, 3}}, {{3, 3, 3, 2}, weight}, {{2}, weight}},
     OP(y_and_pooled(conv2d_fused({}, x[0], x[1], x[2], fused(im2col, false, true))))},
    // add hands one gradient to two: it must not be written over while the other still needs it.
    {"conv2d_fused: a gradient that is others' too",
     {{{1, 4, 3, 5}}, {{3, 3, 5, 5}, weight}},
     OP(add(scale(x[0], 2), add(conv2d_fused({}, x[0], x[1], {}, fused(winograd)).y, scale(x[0], 3))))},
    {"max_pool2d: a gradient that is others' too", {{{1, 4, 6, 5}, distinct}}, OP(pooled_and_more(scale(x[0], 1)))},
    {"conv2d_fused: x alone",
     {{{1, 5, 4, 3}}, {{3, 3, 3, 2}, constant}, {{2}, constant}},
     OP(conv2d_fused({}, x[0], x[1], x[2], fused(winograd)).y)},
    {"conv2d_fused: large",
     {{{1, 31, 33, 16}}, {{1, 62, 66, 8}}, {{3, 3, 24, 13}, weight}, {{13}, weight}},
     OP(y_and_pooled(conv2d_fused(x[0], x[1], x[2], x[3], fused(winograd, true, true))))},
    conv_transpose("conv_transpose2d: winograd", {2, 5, 4, 3}, {3, 3, 2, 3}, {1, 1, 0, winograd}),
    conv_transpose("conv_transpose2d: im2col 3x3", {2, 5, 4, 3}, {3, 3, 2, 3}, {1, 1, 0, im2col}),
    conv_transpose("conv_transpose2d: direct 3x3", {2, 5, 4, 3}, {3, 3, 2, 3}, {1, 1, 0, direct}),
    conv_transpose("conv_transpose2d: 2x2, stride 2", {2, 3, 5, 7}, {2, 2, 3, 7}, {2}),
    conv_transpose("conv_transpose2d: output padding", {1, 3, 4, 2}, {3, 3, 3, 2}, {2, 1, 1}),
    conv_transpose("conv_transpose2d: stride over kernel", {1, 3, 2, 2}, {2, 2, 3, 2}, {3, 0, 2}),
    {"conv_transpose2d: 4x4, H = 1",
     {{{3, 1, 5, 2}}, {{4, 4, 1, 2}, weight}},
     OP(conv_transpose2d(x[0], x[1], {}, {2, 1, 0}))},
    conv_transpose("conv_transpose2d: oblong", {1, 3, 4, 2}, {1, 3, 3, 2}, {1, 0, 0}),
    {"conv_transpose2d: x alone",
     {{{1, 3, 4, 2}}, {{2, 2, 3, 2}, constant}},
     OP(conv_transpose2d(x[0], x[1], {}, {2}))},
    conv_transpose("conv_transpose2d: large", {1, 31, 29, 11}, {2, 2, 5, 11}, {2}),
    {"linear", {{{3, 5}}, {{5, 7}, weight}, {{7}, weight}}, OP(linear(x[0], x[1], x[2]))},
    {"linear: no bias", {{{1, 3}}, {{3, 1}, weight}}, OP(linear(x[0], x[1], {}))},

    {"max_pool2d", {{{2, 6, 4, 3}, distinct}}, OP(max_pool2d(x[0]))},
    {"max_pool2d: odd sizes", {{{3, 5, 7, 1}, distinct}}, OP(max_pool2d(x[0]))},
    {"max_pool2d: overlap and padding", {{{2, 7, 6, 5}, distinct}}, OP(max_pool2d(x[0], {3, 2, 1}))},
    {"max_pool2d: stride 1", {{{1, 5, 4, 67}, distinct}}, OP(max_pool2d(x[0], {3, 1, 1}))},
    {"max_pool2d: 16 channels", {{{1, 5, 4, 16}, distinct}}, OP(max_pool2d(x[0], {3, 2, 1}))},
    {"max_pool2d: stride over kernel", {{{1, 7, 8, 2}, distinct}}, OP(max_pool2d(x[0], {2, 3, 0}))},
    {"max_pool2d: H = 1", {{{2, 1, 7, 3}, distinct}}, OP(max_pool2d(x[0], {2, 2, 1}))},
    {"avg_pool2d", {{{2, 6, 5, 3}}}, OP(avg_pool2d(x[0]))},
    {"avg_pool2d: overlap and padding", {{{2, 7, 6, 5}}}, OP(avg_pool2d(x[0], {3, 2, 1}))},
    {"avg_pool2d: 8 channels", {{{2, 5, 4, 8}}}, OP(avg_pool2d(x[0], {3, 2, 1}))},
    {"avg_pool2d: stride over kernel", {{{1, 7, 8, 2}}}, OP(avg_pool2d(x[0], {2, 3, 0}))},
    {"upsample2x: nearest", {{{2, 3, 5, 3}}}, OP(upsample2x(x[0]))},
    {"upsample2x: nearest, one pixel", {{{3, 1, 1, 2}}}, OP(upsample2x(x[0]))},
    {"upsample2x: bilinear", {{{2, 3, 5, 3}}}, OP(upsample2x(x[0], Upsample::bilinear))},
    {"upsample2x: bilinear, 264 channels", {{{1, 2, 3, 264}}}, OP(upsample2x(x[0], Upsample::bilinear))},
    {"upsample2x: bilinear, H = 1", {{{1, 1, 4, 2}}}, OP(upsample2x(x[0], Upsample::bilinear))},

    {"batch_norm2d", {{{3, 5, 3, 5}}, {{5}, weight}, {{5}, weight}}, OP(batch_norm2d(x[0], x[1], x[2], {}, {}))},
    {"batch_norm2d: 16 channels",
     {{{2, 5, 3, 16}}, {{16}, weight}, {{16}, weight}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}, {.relu = true}))},
    {"batch_norm2d: large",
     {{{1, 83, 79, 24}}, {{24}, weight}, {{24}, weight}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}))},
    {"batch_norm2d: one channel",
     {{{1, 1, 5, 1}}, {{1}, weight}, {{1}, weight}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}))},
    {"batch_norm2d: fixed weights",
     {{{2, 3, 3, 2}}, {{2}, constant}, {{2}, constant}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}))},
    {"batch_norm2d: weights alone",
     {{{2, 3, 3, 2}, zero_one}, {{2}, weight}, {{2}, weight}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}))},
    {"batch_norm2d: inference",
     {{{2, 3, 5, 3}}, {{3}, weight}, {{3}, weight}, {{3}, constant}, {{3}, positive}},
     OP(batch_norm2d(x[0], x[1], x[2], x[3], x[4], {.training = false}))},
    {"group_norm", {{{2, 3, 5, 6}}, {{6}, weight}, {{6}, weight}}, OP(group_norm(x[0], 2, x[1], x[2]))},
    {"group_norm: 24 channels", {{{3, 3, 5, 24}}, {{24}, weight}, {{24}, weight}}, OP(group_norm(x[0], 4, x[1], x[2]))},
    {"group_norm: one group", {{{3, 3, 1, 7}}, {{7}, weight}, {{7}, weight}}, OP(group_norm(x[0], 1, x[1], x[2]))},
    {"group_norm: large", {{{2, 83, 79, 4}}, {{4}, weight}, {{4}, weight}}, OP(group_norm(x[0], 2, x[1], x[2]))},
    {"group_norm: large eps", {{{2, 3, 5, 6}}, {{6}, weight}, {{6}, weight}}, OP(group_norm(x[0], 3, x[1], x[2], 0.1))},
    {"instance_norm: many images",
     {{{90, 2, 3, 40}}, {{40}, weight}, {{40}, weight}},
     OP(instance_norm(x[0], x[1], x[2]))},
    {"instance_norm", {{{2, 3, 5, 3}}, {{3}, weight}, {{3}, weight}}, OP(instance_norm(x[0], x[1], x[2]))},

    {"batch_norm2d: with ReLU",
     {{{3, 5, 3, 5}}, {{5}, weight}, {{5}, weight}},
     OP(batch_norm2d(x[0], x[1], x[2], {}, {}, {.relu = true}))},
    {"group_norm: with ReLU",
     {{{2, 3, 5, 6}}, {{6}, weight}, {{6}, weight}},
     OP(group_norm(x[0], 2, x[1], x[2], 1e-5, true))},
    {"group_norm: with ReLU, a gradient that is others' too",
     {{{2, 3, 5, 6}}, {{6}, weight}, {{6}, weight}},
     OP(add(scale(x[0], 2), add(group_norm(x[0], 2, x[1], x[2], 1e-5, true), scale(x[0], 3))))},
    {"instance_norm: with ReLU",
     {{{2, 3, 5, 17}}, {{17}, weight}, {{17}, weight}},
     OP(instance_norm(x[0], x[1], x[2], 1e-5, true))},

    {"dice_loss", {{{2, 5, 3, 1}, share}, {{2, 5, 3, 1}, zero_one}}, OP(dice_loss(x[0], x[1]))},
    {"dice_loss: smooth 0.1", {{{3, 7}, share}, {{3, 7}, zero_one}}, OP(dice_loss(x[0], x[1], 0.1))},
    {"bce_with_logits", {{{2, 5, 3, 1}}, {{2, 5, 3, 1}, zero_one}}, OP(bce_with_logits(x[0], x[1]))},
    {"cross_entropy", {{{2, 3, 5, 4}}, {{2, 3, 5}, classes}}, OP(cross_entropy(x[0], x[1]))},
    {"mse_loss", {{{2, 3, 5, 3}}, {{2, 3, 5, 3}, zero_one}}, OP(mse_loss(x[0], x[1]))},
};

// The inputs of a case, the batch axis `batch` times as long.
Tensors make_inputs(const OpCase& c, uint64_t seed, DType dtype = DType::f64, int64_t batch = 1) {
  Tensors inputs;
  for (const auto& [its_shape, kind] : c.inputs) {
    std::vector<int64_t> dims(its_shape.begin(), its_shape.end());
    if (has_batch(kind)) dims[0] *= batch;
    const Shape shape(dims.data(), int(dims.size()));
    Random random(random_bits(seed, inputs.size()));
    std::vector<float> values(size_t(shape.elements()));  // so that float32 holds exactly the same
    for (size_t i = 0; i < values.size(); i++) {
      double v = random.uniform(-1, 1);
      if (kind == off_zero) v += v < 0 ? -0.1 : 0.1;
      if (kind == distinct) v = 0.01 * double(i);
      if (kind == share) v = 0.5 + 0.45 * v;
      if (kind == zero_one) v = v > 0;
      if (kind == classes) v = std::floor(2 * v + 2);
      if (kind == positive) v = 1 + 0.5 * v;
      values[i] = float(v);
    }
    if (kind == distinct)
      for (size_t i = values.size(); i > 1; i--) std::swap(values[i - 1], values[size_t(random.below(int64_t(i)))]);
    inputs.push_back(Tensor::from(shape, values).to(dtype).to(device));
    if (has_gradient(kind)) inputs.back().requires_grad();
  }
  return inputs;
}

struct Result {
  Tensor y;
  Tensors gradients;  // empty where none is wanted
};

// The op and the gradients of <y, c> for a random c.
Result run(const OpCase& c, const Tensors& inputs, uint64_t seed) {
  Result result;
  result.y = c.op(inputs);
  const Tensor cotangent = random_tensor(result.y.shape(), seed + 1000, result.y.dtype()).to(device);
  sum(mul(result.y, cotangent)).backward();
  for (const Tensor& x : inputs) result.gradients.push_back(x.needs_grad() ? x.grad() : Tensor());
  return result;
}

}  // namespace

TEST_CASE("ops: gradients agree with finite differences, and nothing is left unwritten") {
  const Poison poison;
  const Threads one(1);  // waking others would take longer than these small loops
  const double h = 1e-5;
  for (const OpCase& c : cases)
    for (uint64_t seed : {1, 2, 3}) {
      INFO(c.name << ", seed " << seed);
      Tensors inputs = make_inputs(c, seed);
      const Result result = run(c, inputs, seed);
      const Tensor cotangent = random_tensor(result.y.shape(), seed + 1000);
      CHECK(std::isfinite(dot(result.y, cotangent)));
      const NoGrad no_grad;
      for (size_t k = 0; k < inputs.size(); k++) {
        if (!inputs[k].needs_grad()) continue;
        INFO("input " << k);
        double* x = inputs[k].data<double>();
        const std::vector<double> gradient = result.gradients[k].to_vector();
        REQUIRE(gradient.size() == size_t(inputs[k].elements()));
        // Of a large input only some elements, each time others.
        Random random(seed + 77);
        const auto n = int64_t(gradient.size()), tried = std::min<int64_t>(n, n > 1000 ? 20 : 60);
        double error = 0, scale = 1e-4;  // a gradient smaller than this would drown in the rounding errors of y
        for (double g : gradient) scale = std::isfinite(g) ? std::max(scale, std::abs(g)) : NAN;
        for (int64_t t = 0; t < tried; t++) {
          const int64_t i = tried == n ? t : random.below(n);
          const double before = x[i];
          x[i] = before + h;
          const double above = dot(c.op(inputs), cotangent);
          x[i] = before - h;
          const double below = dot(c.op(inputs), cotangent);
          x[i] = before;
          error = std::max(error, std::abs((above - below) / (2 * h) - gradient[size_t(i)]));
        }
        CHECK(error / scale < 1e-6);
      }
    }
}

TEST_CASE("ops: gradients are added to what is there") {
  const Poison poison;
  for (const OpCase& c : cases) {
    INFO(c.name);
    const Result fresh = run(c, make_inputs(c, 5), 5);
    Tensors inputs = make_inputs(c, 5), before;
    for (Tensor& x : inputs) {
      before.push_back(random_tensor(x.shape(), 99));
      if (x.needs_grad()) x.set_grad(before.back().clone());
    }
    const Result added = run(c, inputs, 5);
    CHECK(same_bits(added.y, fresh.y));
    for (size_t k = 0; k < inputs.size(); k++)
      if (inputs[k].needs_grad())
        CHECK(relative_error(added.gradients[k], [&] {
                Tensor sum = fresh.gradients[k].clone();
                for (int64_t i = 0; i < sum.elements(); i++) sum.data<double>()[i] += before[k].data<double>()[i];
                return sum;
              }()) < 1e-14);
  }
}

TEST_CASE("ops: float32 agrees with float64") {
  const Poison poison;
  for (const OpCase& c : cases) {
    INFO(c.name);
    const Result exact = run(c, make_inputs(c, 6), 6), rounded = run(c, make_inputs(c, 6, DType::f32), 6);
    CHECK(rounded.y.dtype() == DType::f32);
    CHECK(relative_error(rounded.y, exact.y) < 1e-5);
    for (size_t k = 0; k < exact.gradients.size(); k++)
      if (exact.gradients[k]) CHECK(relative_error(rounded.gradients[k], exact.gradients[k], 0.01) < 1e-5);
  }
}

TEST_CASE("ops: the same bits with any number of threads") {
  // The batch is made long, so that there is work for several threads and sums have more than one block.
  for (DType dtype : {DType::f32, DType::f64})
    for (const OpCase& c : cases) {
      INFO(c.name << ' ' << name(dtype));
      const bool large = c.inputs[0].shape.elements() > 5000;
      const auto with_threads = [&](int n) {
        const Threads threads(n);
        return run(c, make_inputs(c, 8, dtype, large ? 3 : 150), 8);
      };
      const Result one = with_threads(1);
      for (int n : {2, 3, 8, 16}) {
        const Result more = with_threads(n);
        CHECK(same_bits(more.y, one.y));
        for (size_t k = 0; k < one.gradients.size(); k++)
          if (one.gradients[k]) CHECK(same_bits(more.gradients[k], one.gradients[k]));
      }
    }
}

TEST_CASE("ops: the GPU agrees with the CPU, and with itself", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  for (const OpCase& c : cases)
    for (DType dtype : {DType::f64, DType::f32}) {
      INFO(c.name << ' ' << name(dtype));
      const double allowed = dtype == DType::f64 ? 1e-12 : 1e-5;
      const int64_t batch = c.inputs[0].shape.elements() > 5000 ? 1 : 3;
      const Result cpu = run(c, make_inputs(c, 9, dtype, batch), 9);
      const OnGpu on_gpu;
      const Result gpu = run(c, make_inputs(c, 9, dtype, batch), 9), again = run(c, make_inputs(c, 9, dtype, batch), 9);
      CHECK(gpu.y.device() == Device::cuda);
      CHECK(relative_error(gpu.y, cpu.y) < allowed);
      CHECK(same_bits(gpu.y, again.y));
      for (size_t k = 0; k < cpu.gradients.size(); k++)
        if (cpu.gradients[k]) {
          INFO("input " << k);
          CHECK(gpu.gradients[k].device() == Device::cuda);
          CHECK(relative_error(gpu.gradients[k], cpu.gradients[k], 0.01) < allowed);
          CHECK(same_bits(gpu.gradients[k], again.gradients[k]));
        }
    }
}

// A GPU's thread moves 16 bytes at a time where rows are multiples of that: 16 channels are, 17 are not. What it does to a channel
// must not depend on it. (Other tests cover what is summed, which depends on the order.)
TEST_CASE("ops: sixteen bytes at a time give the bits of one number at a time", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  const auto parameter = [](const Tensor& x, double low) {
    return random_tensor({17}, 3, x.dtype() == DType::f64 ? DType::f64 : DType::f32, low, 2);
  };
  const auto first = [](const Tensor& x, int64_t c) {  // of each row
    const std::vector<double> from = x.to_vector();
    const Shape s = x.shape();
    std::vector<double> to;
    for (size_t i = 0; i < from.size(); i++)
      if (int64_t(i) % s[-1] < c) to.push_back(from[i]);
    return Tensor::from(s.rank() == 1 ? Shape{c} : Shape{s[0], s[1], s[2], c}, to).to(x.dtype());
  };
  const std::function<Tensor(const Tensor&)> ops[] = {
      [](const Tensor& x) { return max_pool2d(x); },
      [](const Tensor& x) {
        return max_pool2d(x, {3, 2, 1});
      },
      [](const Tensor& x) {
        return avg_pool2d(x, {3, 1, 1});
      },
      [](const Tensor& x) { return upsample2x(x); },
      [](const Tensor& x) { return upsample2x(x, Upsample::bilinear); },
      [](const Tensor& x) { return pad2d(x, 1, -2, 2, 0); },
      [&](const Tensor& x) {
        const auto p = [&](double low) { return first(parameter(x, low), x.shape()[3]).to(Device::cuda); };
        return batch_norm2d(x, p(-1), p(-2), p(-0.5), p(0.5), {.training = false, .relu = true});
      }};
  for (DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (const auto& op : ops) {
      INFO(name(dtype) << ", op " << &op - ops);
      const Tensor x = random_tensor({2, 6, 7, 17}, 1).to(dtype);
      Tensor dy;
      const auto run = [&](int64_t channels) {
        Tensor leaf = first(x, channels).to(Device::cuda).requires_grad();
        const Tensor y = op(leaf);
        if (!dy) dy = random_tensor(y.shape(), 2).to(dtype);
        y.backward(first(dy, channels).to(Device::cuda));
        return Tensors{first(y, 16), first(leaf.grad(), 16)};
      };
      const Tensors one = run(17), sixteen = run(16);
      CHECK(same_bits(sixteen[0], one[0]));
      CHECK(same_bits(sixteen[1], one[1]));
    }
  // Elementwise: of n elements in a row, and each alone.
  for (DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (int64_t n : {1, 3, 8, 15, 16, 33}) {
      const auto op = [](const Tensor& a, const Tensor& b) { return add(mul(a, b), leaky_relu(a, 0.3)); };
      const Tensor a = random_tensor({n}, 4).to(dtype), b = random_tensor({n}, 5).to(dtype);
      const std::vector<double> together = op(a.to(Device::cuda), b.to(Device::cuda)).to_vector();
      const std::vector<double> x = a.to_vector(), y = b.to_vector();
      for (size_t i = 0; i < size_t(n); i++) {
        const auto alone = [&](double value) { return Tensor::full({}, value, dtype, Device::cuda); };
        CHECK(op(alone(x[i]), alone(y[i])).item() == together[i]);
      }
    }
}

// On the CPU bfloat16 is for this test: each number is rounded where it is stored, as on the GPU, which may calculate
// in another order between. What two roundings apart may be, in the worst case of a sum, is far more than what a wrong
// index would let through.
TEST_CASE("ops: bfloat16 on the GPU agrees with the CPU's, and with float64", "[cuda]") {
  const Poison poison;
  int refused = 0;
  for (const OpCase& c : cases) {
    INFO(c.name);
    const auto run_in = [&](DType dtype) {  // from the same numbers, which bfloat16 can hold
      Tensors inputs = make_inputs(c, 10);
      for (size_t i = 0; i < inputs.size(); i++) {
        const Kind kind = c.inputs[i].kind;
        const bool parameter = kind == weight || kind == constant || kind == positive;
        const DType of_parameters = dtype == DType::bf16 ? DType::f32 : dtype;
        inputs[i] = inputs[i].detach().to(DType::bf16).to(parameter ? of_parameters : dtype);
        if (has_gradient(kind)) inputs[i].requires_grad();
      }
      OpCase precise = c;
      precise.op = [&](const Tensors& x) { return cast(c.op(x), dtype == DType::bf16 ? DType::f32 : dtype); };
      return run(precise, inputs, 10);
    };
    short_on_cpu = true;
    Result cpu;
    const std::string problem = error_of([&] { cpu = run_in(DType::bf16); });
    short_on_cpu = false;
    if (problem != "no error") {
      CHECK_THAT(problem, Catch::Contains("bfloat16"));
      refused++;
      continue;
    }
    const Result exact = run_in(DType::f64);
    CHECK(relative_error(cpu.y, exact.y) < 0.02);
    // Of two pixels that rounding has made equal, the first is the maximum; of many pixels there are such.
    const bool ties = c.name == std::string("conv2d_fused: large");
    for (size_t k = 0; k < exact.gradients.size() && !ties; k++)
      if (exact.gradients[k]) CHECK(relative_error(cpu.gradients[k], exact.gradients[k], 0.1) < 0.03);
    if (!cuda::available()) continue;
    const OnGpu on_gpu;
    const Result gpu = run_in(DType::bf16);
    CHECK(relative_error(gpu.y, cpu.y) < 0.01);
    for (size_t k = 0; k < cpu.gradients.size(); k++)
      if (cpu.gradients[k]) CHECK(relative_error(gpu.gradients[k], cpu.gradients[k], 0.1) < 0.02);
  }
  CHECK(refused == 11);  // sums, softmax, losses
}

// ---- against loops written down naively -------------------------------------------------------------------------

namespace {

struct ConvCase {
  int64_t n, h, w, c, o, kh, kw, stride, padding, dilation;  // transposed: c are y's channels, o those of x
  friend std::ostream& operator<<(std::ostream& out, const ConvCase& c) {
    return out << "n " << c.n << ", " << c.h << 'x' << c.w << ", " << c.c << " -> " << c.o << ", kernel " << c.kh << 'x'
               << c.kw << ", stride " << c.stride << ", padding " << c.padding << ", dilation " << c.dilation;
  }
};

const ConvCase conv_cases[] = {
    {1, 5, 6, 1, 1, 3, 3, 1, 1, 1},     {2, 9, 7, 3, 5, 3, 3, 1, 1, 1},    {3, 1, 8, 2, 3, 3, 3, 1, 1, 1},
    {1, 8, 1, 4, 4, 3, 3, 1, 1, 1},     {1, 1, 1, 3, 2, 3, 3, 1, 1, 1},    {1, 7, 9, 3, 12, 3, 3, 1, 1, 1},
    {2, 12, 13, 12, 12, 3, 3, 1, 1, 1}, {1, 9, 11, 16, 16, 3, 3, 1, 1, 1}, {1, 7, 6, 19, 33, 3, 3, 1, 1, 1},
    {1, 6, 7, 48, 24, 3, 3, 1, 1, 1},   {1, 3, 5, 64, 40, 3, 3, 1, 1, 1},  {1, 40, 37, 8, 8, 3, 3, 1, 1, 1},
    {2, 17, 23, 24, 1, 3, 3, 1, 1, 1},  {2, 6, 5, 2, 3, 3, 3, 1, 0, 1},    {1, 6, 5, 2, 3, 3, 3, 1, 2, 1},
    {1, 4, 5, 2, 3, 2, 2, 1, 1, 1},     {2, 7, 8, 3, 2, 5, 5, 1, 2, 1},    {1, 7, 7, 3, 2, 7, 7, 1, 0, 1},
    {2, 5, 6, 7, 4, 1, 1, 1, 0, 1},     {1, 9, 9, 12, 1, 1, 1, 1, 0, 1},   {1, 6, 5, 3, 4, 3, 3, 1, 4, 1},
    {2, 9, 8, 3, 4, 3, 3, 2, 1, 1},     {1, 8, 9, 3, 4, 2, 2, 2, 0, 1},    {1, 10, 9, 2, 3, 2, 2, 3, 0, 1},
    {1, 11, 13, 1, 2, 7, 7, 2, 3, 1},   {1, 9, 8, 3, 2, 3, 3, 1, 2, 2},    {2, 12, 11, 2, 3, 3, 3, 2, 3, 3},
    {2, 10, 12, 16, 24, 2, 2, 2, 0, 1}, {1, 9, 12, 5, 4, 3, 3, 3, 0, 1},   {1, 6, 9, 3, 2, 1, 5, 1, 2, 1},
    {1, 9, 6, 3, 2, 5, 2, 2, 1, 1},     {1, 5, 5, 3, 2, 1, 1, 2, 1, 1},
};

struct ConvResult {
  Tensor y, dx, dw, db;
};

// All sums at once: every (output pixel, tap, channel in, channel out) is visited and added where it belongs.
// Transposed, the tap leads from a pixel of x (there: i, j, o) to one of y.
ConvResult naive_convolution(const ConvCase& g, bool transposed, const Tensor& x, const Tensor& w, const Tensor& b,
                             const Tensor& dy) {
  const int64_t oh = transposed ? x.shape()[1] : dy.shape()[1], ow = transposed ? x.shape()[2] : dy.shape()[2];
  const int64_t h = transposed ? dy.shape()[1] : x.shape()[1], width = transposed ? dy.shape()[2] : x.shape()[2];
  ConvResult r{Tensor::zeros(dy.shape(), DType::f64), Tensor::zeros(x.shape(), DType::f64),
               Tensor::zeros(w.shape(), DType::f64), Tensor::zeros(b.shape(), DType::f64)};
  const double *px = x.data<double>(), *pw = w.data<double>(), *pdy = dy.data<double>();
  double *py = r.y.data<double>(), *pdx = r.dx.data<double>(), *pdw = r.dw.data<double>();
  const int64_t channels = b.elements();
  for (int64_t i = 0; i < dy.elements(); i++) {
    py[i] = b.data<double>()[i % channels];
    r.db.data<double>()[i % channels] += pdy[i];
  }
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t i = 0; i < oh; i++)
      for (int64_t j = 0; j < ow; j++)
        for (int64_t a = 0; a < g.kh; a++)
          for (int64_t e = 0; e < g.kw; e++) {
            const int64_t row = i * g.stride - g.padding + a * g.dilation;
            const int64_t col = j * g.stride - g.padding + e * g.dilation;
            if (row < 0 || row >= h || col < 0 || col >= width) continue;
            for (int64_t c = 0; c < g.c; c++)
              for (int64_t o = 0; o < g.o; o++) {
                const int64_t large = ((n * h + row) * width + col) * g.c + c;
                const int64_t small = ((n * oh + i) * ow + j) * g.o + o;
                const int64_t in = transposed ? small : large, out = transposed ? large : small;
                const int64_t tap = ((a * g.kw + e) * g.c + c) * g.o + o;
                py[out] += px[in] * pw[tap];
                pdx[in] += pdy[out] * pw[tap];
                pdw[tap] += px[in] * pdy[out];
              }
          }
  return r;
}

template <class Convolution>
void compare_convolution(const ConvCase& g, bool transposed, Convolution convolution) {
  const Shape large{g.n, g.h, g.w, g.c};
  const Shape small{g.n, (g.h + 2 * g.padding - g.dilation * (g.kh - 1) - 1) / g.stride + 1,
                    (g.w + 2 * g.padding - g.dilation * (g.kw - 1) - 1) / g.stride + 1, g.o};
  // In values that float32 holds exactly.
  const auto values = [](const Shape& shape, uint64_t seed) {
    return random_tensor(shape, seed, DType::f32).to(DType::f64);
  };
  const Tensor x = values(transposed ? small : large, 1), dy = values(transposed ? large : small, 2);
  const Tensor w = values({g.kh, g.kw, g.c, g.o}, 3), b = values({transposed ? g.c : g.o}, 4);
  const ConvResult naive = naive_convolution(g, transposed, x, w, b, dy);
  const bool can_winograd = g.stride == 1 && g.dilation == 1 && g.kh == 3 && g.kw == 3 && g.padding < 3;
  for (DType dtype : {DType::f64, DType::f32})
    for (ConvAlgorithm algorithm : {automatic, winograd, im2col, direct}) {
      if (algorithm == winograd && !can_winograd) continue;
      INFO(g << (transposed ? ", transposed, " : ", ") << name(dtype) << ", algorithm " << int(algorithm));
      // Winograd's sums of differences lose a digit.
      const bool exact = algorithm == im2col || algorithm == direct;
      const double allowed = dtype == DType::f64 ? 1e-12 : exact ? 2e-6 : 1e-5;
      Tensor xt = x.to(dtype).clone(), wt = w.to(dtype).clone(), bt = b.to(dtype).clone();
      for (Tensor* t : {&xt, &wt, &bt}) t->requires_grad();
      const Tensor y = convolution(xt, wt, bt, algorithm);
      CHECK(relative_error(y, naive.y) < allowed);
      sum(mul(y, dy.to(dtype))).backward();
      CHECK(relative_error(xt.grad(), naive.dx) < allowed);
      CHECK(relative_error(wt.grad(), naive.dw) < allowed);
      CHECK(relative_error(bt.grad(), naive.db) < allowed);
      // Without a bias
      CHECK(relative_error(convolution(xt.detach(), wt.detach(), Tensor(), algorithm), [&] {
              Tensor expected = naive.y.clone();
              for (int64_t i = 0; i < expected.elements(); i++)
                expected.data<double>()[i] -= b.data<double>()[i % b.elements()];
              return expected;
            }()) < allowed);
    }
}

}  // namespace

TEST_CASE("ops: conv2d is what its formula says, by every algorithm") {
  const Poison poison;
  const Threads one(1);
  for (const ConvCase& g : conv_cases)
    compare_convolution(g, false, [&](const Tensor& x, const Tensor& w, const Tensor& b, ConvAlgorithm algorithm) {
      return conv2d(x, w, b, {int(g.stride), int(g.padding), int(g.dilation), algorithm});
    });
}

TEST_CASE("ops: conv_transpose2d is what its formula says, by every algorithm") {
  const Poison poison;
  const Threads one(1);
  for (const ConvCase& g : conv_cases) {
    if (g.dilation != 1) continue;
    // The rows and columns that the kernels placed `stride` apart leave over at the end are output padding.
    const int64_t extra_h = (g.h + 2 * g.padding - g.kh) % g.stride, extra_w = (g.w + 2 * g.padding - g.kw) % g.stride;
    if (extra_h != extra_w) continue;
    compare_convolution(g, true, [&](const Tensor& x, const Tensor& w, const Tensor& b, ConvAlgorithm algorithm) {
      return conv_transpose2d(x, w, b, {int(g.stride), int(g.padding), int(extra_h), algorithm});
    });
  }
}

TEST_CASE("ops: pooling is what its formula says, of ties the first") {
  const Poison poison;
  struct PoolCase {
    Shape shape;
    Pool2dOptions options;
  };
  const PoolCase pool_cases[] = {{{2, 6, 4, 3}, {2, 2, 0}}, {{1, 5, 7, 65}, {2, 2, 0}}, {{2, 7, 6, 2}, {3, 2, 1}},
                                 {{1, 6, 5, 4}, {3, 1, 1}}, {{1, 8, 9, 3}, {2, 3, 0}},  {{1, 6, 6, 1}, {5, 2, 2}},
                                 {{2, 1, 9, 3}, {2, 2, 1}}, {{1, 4, 5, 2}, {1, 1, 0}},  {{1, 4, 5, 130}, {4, 1, 2}},
                                 {{1, 5, 5, 2}, {1, 2, 0}}, {{1, 3, 3, 1}, {3, 3, 0}}};
  for (const auto& [shape, o] : pool_cases) {
    INFO(shape << " kernel " << o.kernel << ", stride " << o.stride << ", padding " << o.padding);
    Tensor x = random_tensor(shape, 1, DType::f64, 0, 3);  // 0, 1, 2: full of ties
    for (int64_t i = 0; i < x.elements(); i++) x.data<double>()[i] = std::floor(x.data<double>()[i]);
    const int64_t h = shape[1], w = shape[2], c = shape[3], oh = (h + 2 * o.padding - o.kernel) / o.stride + 1,
                  ow = (w + 2 * o.padding - o.kernel) / o.stride + 1;
    const Shape out{shape[0], oh, ow, c};
    const Tensor dy = random_tensor(out, 2);
    Tensor largest(out, DType::f64), mean = Tensor::zeros(out, DType::f64), dlargest = Tensor::zeros(shape, DType::f64),
                                     dmean = Tensor::zeros(shape, DType::f64);
    for (int64_t k = 0; k < out.elements(); k++) {
      const int64_t ch = k % c, j = k / c % ow, i = k / c / ow % oh, n = k / c / ow / oh;
      int64_t first = -1;
      for (int64_t a = 0; a < o.kernel; a++)
        for (int64_t b = 0; b < o.kernel; b++) {
          const int64_t r = i * o.stride - o.padding + a, q = j * o.stride - o.padding + b;
          if (r < 0 || r >= h || q < 0 || q >= w) continue;
          const int64_t at = ((n * h + r) * w + q) * c + ch;
          if (first < 0 || x.data<double>()[at] > x.data<double>()[first]) first = at;
          mean.data<double>()[k] += x.data<double>()[at] / (o.kernel * o.kernel);
          dmean.data<double>()[at] += dy.data<double>()[k] / (o.kernel * o.kernel);
        }
      largest.data<double>()[k] = x.data<double>()[first];
      dlargest.data<double>()[first] += dy.data<double>()[k];
    }
    x.requires_grad();
    const Tensor y = max_pool2d(x, o);
    CHECK(same_bits(y, largest));
    sum(mul(y, dy)).backward();
    CHECK(relative_error(x.grad(), dlargest) < 1e-14);
    x.set_grad({});
    const Tensor z = avg_pool2d(x, o);
    CHECK(relative_error(z, mean) < 1e-14);
    sum(mul(z, dy)).backward();
    CHECK(relative_error(x.grad(), dmean) < 1e-14);
  }
}

TEST_CASE("ops: small examples with numbers") {
  using Vector = std::vector<double>;
  const auto of = [](const Shape& shape, std::initializer_list<float> v) { return Tensor::from(shape, v); };
  CHECK(relu(of({4}, {-2, -0.f, 0, 3})).to_vector() == Vector{0, 0, 0, 3});
  CHECK(leaky_relu(of({3}, {-2, 0, 3}), 0.5).to_vector() == Vector{-1, 0, 3});
  CHECK(concat(of({1, 1, 2, 1}, {1, 2}), of({1, 1, 2, 2}, {3, 4, 5, 6})).to_vector() == Vector{1, 3, 4, 2, 5, 6});
  CHECK(pad2d(of({1, 2, 2, 1}, {1, 2, 3, 4}), 1, -1, 0, 1).to_vector() == Vector{0, 0, 0, 1, 2, 0});
  CHECK(pad2d(of({1, 2, 2, 1}, {1, 2, 3, 4}), 0, -2, 0, 0).shape() == Shape{1, 0, 2, 1});
  CHECK(upsample2x(of({1, 1, 2, 1}, {1, 2})).to_vector() == Vector{1, 1, 2, 2, 1, 1, 2, 2});
  CHECK(upsample2x(of({1, 1, 2, 1}, {0, 4}), Upsample::bilinear).to_vector() == Vector{0, 1, 3, 4, 0, 1, 3, 4});
  CHECK(max_pool2d(of({1, 2, 2, 1}, {-1, -2, -3, -4}), {2, 2, 1}).to_vector() == Vector{-1, -2, -3, -4});
  CHECK(linear(of({1, 2}, {1, 2}), of({2, 2}, {3, 4, 5, 6}), of({2}, {10, 20})).to_vector() == Vector{23, 36});
  CHECK(sum(Tensor::zeros({0, 3})).item() == 0);
  CHECK(sum(of({3}, {1, 2, 4})).item() == 7);
  CHECK(mean(of({4}, {1, 2, 4, 5})).item() == 3);
  // Averages are -1 to 1 around 0 in four groups of two: (x - mean) / sqrt(var + eps), var = 1
  CHECK(relative_error(group_norm(of({1, 1, 2, 2}, {1, 10, 3, 14}), 2, of({2}, {1, 2}), of({2}, {0, 5}), 0),
                       of({1, 1, 2, 2}, {-1, 3, 1, 7})) < 1e-6);
  CHECK(relative_error(group_norm(of({1, 1, 1, 2}, {1, 3}), 1, of({2}, {1, 1}), of({2}, {0, 0}), 3),
                       of({1, 1, 1, 2}, {-0.5, 0.5})) < 1e-6);
  CHECK(relative_error(instance_norm(of({2, 1, 2, 1}, {1, 3, 10, 20}), of({1}, {1}), of({1}, {0}), 0),
                       of({2, 1, 2, 1}, {-1, 1, -1, 1})) < 1e-6);
  // Sums of 10 million ones are exact in float32: they are accumulated in float64.
  CHECK(sum(Tensor::full({10'000'000}, 1)).item() == 1e7);
}

// ---- losses -----------------------------------------------------------------------------------------------------

TEST_CASE("ops: losses have the values of their formulas, also for an empty target") {
  const Tensor t = Tensor::from({4}, {1, 0, 0, 1}), none = Tensor::zeros({4});
  Tensor p = Tensor::from({4}, {0.5, 0.25, 0, 1});
  p.requires_grad();
  CHECK(dice_loss(p, t).item() == Approx(-(2 * 1.5 + 1) / (1.75 + 2 + 1)));
  CHECK(dice_loss(t, t).item() == Approx(-1));
  CHECK(dice_loss(Tensor::from({4}, {0, 1, 1, 0}), t, 0).item() == 0);
  CHECK(dice_loss(none, none).item() == Approx(-1));  // nothing there and nothing found is perfect
  const Tensor loss = dice_loss(p, none);
  CHECK(loss.item() == Approx(-1 / 2.75));
  loss.backward();
  for (double g : p.grad().to_vector()) CHECK(g == Approx(1 / (2.75 * 2.75)));  // less p, better loss

  CHECK(bce_with_logits(Tensor::zeros({4}), t).item() == Approx(std::log(2)));
  CHECK(bce_with_logits(Tensor::from({2}, {1, -2}), Tensor::from({2}, {1, 0.5})).item() ==
        Approx((std::log1p(std::exp(-1.)) + 0.5 * std::log1p(std::exp(2.)) + 0.5 * std::log1p(std::exp(-2.))) / 2));
  CHECK(mse_loss(p, t).item() == Approx((0.25 + 0.0625) / 4));
  CHECK(cross_entropy(Tensor::zeros({3, 5}), Tensor::from({3}, {0, 4, 2})).item() == Approx(std::log(5)));
  CHECK(cross_entropy(Tensor::from({1, 2}, {1, 3}), Tensor::from({1}, {0})).item() ==
        Approx(std::log(std::exp(1.) + std::exp(3.)) - 1));
}

TEST_CASE("ops: extreme values stay finite and have the right limits") {
  using Vector = std::vector<double>;
  for (DType dtype : {DType::f32, DType::f64}) {
    INFO(name(dtype));
    const auto leaf = [&](const Shape& shape, const Vector& v) {
      return Tensor::from(shape, v).to(dtype).clone().requires_grad();
    };
    const Tensor s = leaf({6}, {-INFINITY, -1000, -400, 400, 1000, INFINITY});
    const Tensor y = sigmoid(s);
    // exp(-400) is 1.9e-174, which float64 holds and float32 does not.
    CHECK(y.to_vector()[1] == 0);
    CHECK(y.to_vector()[2] == Approx(dtype == DType::f64 ? std::exp(-400.) : 0).margin(0));
    CHECK((y.to_vector()[0] == 0 && y.to_vector()[3] == 1 && y.to_vector()[4] == 1 && y.to_vector()[5] == 1));
    sum(y).backward();
    for (double g : s.grad().to_vector()) CHECK((g >= 0 && g < 1e-100));

    const Tensor x = leaf({2, 3}, {1000, -1000, 999, -400, -400, -1000});
    const Tensor p = softmax(x);
    const double e = 1 / (1 + std::exp(-1.));
    CHECK(relative_error(p, Tensor::from({2, 3}, Vector{e, 0, 1 - e, 0.5, 0.5, 0})) < 1e-6);
    sum(mul(p, random_tensor({2, 3}, 1, dtype))).backward();
    for (double g : x.grad().to_vector()) CHECK(std::isfinite(g));

    const Tensor c = leaf({3, 2}, {1000, -1000, 1000, -1000, 400, 400});
    const Tensor entropy = cross_entropy(c, Tensor::from({3}, Vector{0, 1, 1}).to(dtype));
    CHECK(entropy.item() == Approx((0 + 2000 + std::log(2)) / 3));
    entropy.backward();
    CHECK(relative_error(c.grad(), Tensor::from({3, 2}, Vector{0, 0, 1. / 3, -1. / 3, 1. / 6, -1. / 6})) < 1e-6);

    const Tensor b = leaf({6}, {-1000, -1000, -400, 400, 1000, 1000});
    const Tensor bce = bce_with_logits(b, Tensor::from({6}, Vector{0, 1, 0.5, 0.5, 0, 1}).to(dtype));
    CHECK(bce.item() == Approx((0 + 1000 + 200 + 200 + 1000 + 0) / 6.));
    bce.backward();
    CHECK(relative_error(b.grad(), Tensor::from({6}, Vector{0, -1. / 6, -1. / 12, 1. / 12, 1. / 6, 0})) < 1e-6);

    const Tensor d = leaf({2}, {0, 0});
    dice_loss(d, Tensor::zeros({2}, dtype), 1e-6).backward();
    for (double g : d.grad().to_vector()) CHECK(g == Approx(1e6));

    // No variance: the output is the bias, the gradient finite.
    const Tensor flat = leaf({2, 3, 3, 4}, Vector(72, 1000));
    const Tensor weight = leaf({4}, {1, 2, 3, 4}), bias = leaf({4}, {5, 6, 7, 8});
    for (const Tensor& z : {batch_norm2d(flat, weight, bias, {}, {}), group_norm(flat, 2, weight, bias),
                            instance_norm(flat, weight, bias)}) {
      for (int64_t i = 0; i < 72; i++) CHECK(z.to_vector()[size_t(i)] == Approx(5 + double(i % 4)));
      sum(z).backward();
      for (double g : flat.grad().to_vector()) CHECK(std::isfinite(g));
    }
    // A variance that is small beside the mean: sum(x^2) - mean^2 would cancel in float32.
    Vector shifted(200);
    for (size_t i = 0; i < 200; i++) shifted[i] = 4096 + (i % 2 ? 0.5 : -0.5);
    const Tensor z = instance_norm(leaf({1, 10, 20, 1}, shifted), leaf({1}, {1}), leaf({1}, {0}));
    for (size_t i = 0; i < 200; i++) CHECK(z.to_vector()[i] == Approx(i % 2 ? 1 : -1).epsilon(1e-4));
  }
}

TEST_CASE("ops: NaN is not swallowed") {
  const auto is_nan = [](const Tensor& y) { return std::isnan(dot(y, Tensor::full(y.shape(), 1))); };
  for (size_t at = 0; at < 4; at++) {
    std::vector<float> values{1, -2, 3, -4};
    values[at] = NAN;
    const Tensor x = Tensor::from({1, 2, 2, 1}, values), one = Tensor::full({1}, 1), zero = Tensor::zeros({1});
    INFO("element " << at);
    CHECK(is_nan(relu(x)));
    CHECK(is_nan(leaky_relu(x)));
    CHECK(is_nan(sigmoid(x)));
    CHECK(is_nan(max_pool2d(x)));
    CHECK(is_nan(avg_pool2d(x)));
    CHECK(is_nan(instance_norm(x, one, zero)));
    CHECK(is_nan(batch_norm2d(x, one, zero, {}, {})));
    CHECK(is_nan(conv2d(x, Tensor::full({1, 1, 1, 1}, 1), {})));
    CHECK(is_nan(dice_loss(x, Tensor::zeros(x.shape()))));
    CHECK(is_nan(bce_with_logits(x, Tensor::zeros(x.shape()))));
    CHECK(is_nan(softmax(reshape(x, {1, 4}))));
    CHECK(is_nan(cross_entropy(reshape(x, {1, 4}), zero)));
  }
  // nearest takes one pixel; the others, infinite or not, do not come in.
  const Tensor near = upsample2x(Tensor::from({1, 1, 3, 1}, {1, INFINITY, 2}));
  CHECK(near.to_vector() == std::vector<double>{1, 1, INFINITY, INFINITY, 2, 2, 1, 1, INFINITY, INFINITY, 2, 2});
}

TEST_CASE("ops: an empty batch goes through") {
  Tensor x = Tensor::zeros({0, 4, 6, 3}).requires_grad(), w = Tensor::full({3, 3, 3, 2}, 1).requires_grad(),
         b = Tensor::full({2}, 1).requires_grad(), wt = Tensor::full({2, 2, 2, 2}, 1).requires_grad();
  Tensor y = max_pool2d(relu(conv2d(x, w, b, {1, 1, 1})));
  y = concat(conv_transpose2d(y, wt, b, {2}), upsample2x(pad2d(y, 0, 0, 0, 0)));
  CHECK(y.shape() == Shape{0, 4, 6, 4});
  sum(softmax(avg_pool2d(sigmoid(y)))).backward();
  CHECK(x.grad().shape() == x.shape());
  for (const Tensor& t : {w, b, wt})
    for (double g : t.grad().to_vector()) CHECK(g == 0);
}

// ---- dropout, batch norm ------------------------------------------------------------------------------------------

TEST_CASE("ops: dropout keeps the share and the mean, by a mask that depends on the seed alone") {
  const int64_t n = 200'000;
  for (double p : {0.1, 0.5, 0.9}) {
    INFO("p " << p);
    Tensor x = Tensor::full({n}, 2).requires_grad();
    const Tensor y = dropout(x, p, 3);
    const std::vector<double> values = y.to_vector();
    const auto kept = double(n - std::count(values.begin(), values.end(), 0.0));
    CHECK(std::abs(kept / double(n) - (1 - p)) < 4 * std::sqrt(p * (1 - p) / double(n)));
    CHECK(dot(y, Tensor::full({n}, 1)) / double(n) == Approx(2).epsilon(0.03));
    for (double v : values)
      if (v != 0 && std::abs(v - 2 / (1 - p)) > 1e-5) FAIL_CHECK("a kept value is " << v);
    sum(y).backward();
    const std::vector<double> gradient = x.grad().to_vector();
    int64_t differ = 0;
    for (size_t i = 0; i < values.size(); i++) differ += gradient[i] != values[i] / 2;
    CHECK(differ == 0);  // the same mask and the same scale
    CHECK(same_bits(dropout(x, p, 3), y));
    CHECK_FALSE(same_bits(dropout(x, p, 4), y));
  }
}

TEST_CASE("ops: batch norm keeps running statistics in training and uses them at inference") {
  const Tensor x = Tensor::from({2, 1, 2, 2}, {1, 10, 2, 20, 3, 30, 6, 40});  // channels 1 2 3 6 and 10 20 30 40
  const Tensor weight = Tensor::from({2}, {1, 2}), bias = Tensor::from({2}, {0, 1});
  Tensor mean = Tensor::from({2}, {100, 0}), var = Tensor::from({2}, {1, 2});
  const Tensor y = batch_norm2d(x, weight, bias, mean, var, {.training = true, .momentum = 0.25});
  // Means 3 and 25; biased variances 3.5 and 125 normalise, unbiased ones 14/3 and 500/3 are kept.
  CHECK(y.to_vector()[0] == Approx(-2 / std::sqrt(3.5)).epsilon(1e-4));
  CHECK(y.to_vector()[7] == Approx(2 * 15 / std::sqrt(125.) + 1).epsilon(1e-4));
  CHECK(relative_error(mean, Tensor::from({2}, {75.75, 6.25})) < 1e-6);
  CHECK(relative_error(var, Tensor::from({2}, {0.75f + 3.5f / 3, 1.5f + 125.f / 3})) < 1e-6);

  const Tensor mean_before = mean.clone(), var_before = var.clone();
  const Tensor z = batch_norm2d(x, weight, bias, mean, var, {.training = false});
  CHECK(z.to_vector()[0] == Approx((1 - 75.75) / std::sqrt(0.75 + 3.5 / 3)).epsilon(1e-4));
  CHECK((same_bits(mean, mean_before) && same_bits(var, var_before)));
  // One of the two alone is kept as well; at inference a batch of one pixel will do.
  batch_norm2d(x, weight, bias, mean, {}, {.momentum = 1});
  CHECK(relative_error(mean, Tensor::from({2}, {3, 25})) < 1e-6);
  CHECK(batch_norm2d(Tensor::zeros({1, 1, 1, 2}), weight, bias, mean, var, {.training = false}).elements() == 2);
}

// Where the mean is large, a sum of squares would lose digits; where the first pixel is unlike all others, one of differences from it.
TEST_CASE("ops: a norm's variance is exact where the mean is large, and where a pixel is unlike all others") {
  const Shape shape{2, 61, 53, 8};
  const int64_t n = shape.elements() / 8;
  std::vector<float> far(size_t(8 * n)), lone(far.size(), 0.3f), noisy(far.size());
  Random random(1);
  for (size_t i = 0; i < far.size(); i++) far[i] = float(1e4 + random.normal()), noisy[i] = float(random.normal());
  for (size_t c = 0; c < 8; c++) lone[c] = 1000, noisy[c] = -3e4f;
  for (const auto& values : {far, lone, noisy})
    for (Device device : {Device::cpu, Device::cuda}) {
      if (device == Device::cuda && !cuda::available()) continue;
      double sum = 0, square = 0;  // of channel 7
      for (size_t i = 7; i < values.size(); i += 8) sum += values[i];
      for (size_t i = 7; i < values.size(); i += 8) square += std::pow(values[i] - sum / double(n), 2);
      const auto all = [&](double value) { return Tensor::full({8}, value, DType::f32, device); };
      const Tensor mean = all(0), var = all(0);
      batch_norm2d(Tensor::from(shape, values).to(device), all(1), all(0), mean, var, {.momentum = 1});
      INFO(name(device) << ", " << values[0]);
      CHECK(mean.to_vector()[7] == Approx(sum / double(n)).epsilon(1e-7));
      CHECK(var.to_vector()[7] == Approx(square / double(n - 1)).epsilon(5e-7));
    }
}

// ---- refusals -----------------------------------------------------------------------------------------------------

TEST_CASE("ops: what does not fit is refused, with the op's name and the shapes") {
  const auto of = [](std::initializer_list<int64_t> dims) { return Tensor::zeros(dims); };
  const Tensor image = of({2, 6, 4, 3}), other = of({2, 6, 5, 3}), flat = of({2, 3}), empty, two = of({2}),
               three = of({3}), kernel = of({3, 3, 3, 8}), doubles = Tensor::zeros({2, 6, 4, 3}, DType::f64);
  struct Refusal {
    std::function<Tensor()> op;
    std::vector<std::string> message;
  };
  const Refusal refusals[] = {
      {[&] { return add(image, other); }, {"add: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return add(image, doubles); }, {"add: ", "float32", "float64", ".to()"}},
      {[&] { return add(image, empty); }, {"add: ", "empty"}},
      {[&] { return mul(image, other); }, {"mul: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return mul(doubles, image); }, {"mul: ", "float32", "float64"}},
      {[&] { return scale(empty, 1); }, {"scale: ", "empty"}},
      {[&] { return relu(empty); }, {"relu: ", "empty"}},
      {[&] { return leaky_relu(empty); }, {"leaky_relu: ", "empty"}},
      {[&] { return sigmoid(empty); }, {"sigmoid: ", "empty"}},
      {[&] { return dropout(image, 1, 0); }, {"dropout: ", "p is 1"}},
      {[&] { return dropout(image, -0.1, 0); }, {"dropout: ", "p is -0.1"}},
      {[&] { return dropout(image, NAN, 0); }, {"dropout: ", "nan"}},
      {[&] { return sum(empty); }, {"sum: ", "empty"}},
      {[&] {
         return mean(of({0, 3}));
       },
       {"mean: ", "(0,3)"}},
      {[&] { return softmax(of({})); }, {"softmax: ", "()"}},
      {[&] {
         return softmax(of({3, 0}));
       },
       {"softmax: ", "(3,0)"}},
      {[&] {
         return reshape(image, {2, 71});
       },
       {"reshape: ", "(2,6,4,3)", "144", "(2,71)", "142"}},
      {[&] { return concat(image, other); }, {"concat: ", "(2,6,4,3)", "(2,6,5,3)", "pad2d"}},
      {[&] { return concat(image, flat); }, {"concat: ", "(2,6,4,3)", "(2,3)", "(N,H,W,C)"}},
      {[&] { return pad2d(flat, 1, 1, 1, 1); }, {"pad2d: ", "(2,3)", "(N,H,W,C)"}},
      {[&] { return pad2d(image, -4, -3, 0, 0); }, {"pad2d: ", "(2,6,4,3)", "top -4", "bottom -3"}},
      {[&] {
         return conv2d(image, of({3, 3, 5, 8}), empty);
       },
       {"conv2d: ", "(2,6,4,3)", "(3,3,5,8)", "3 channels"}},
      {[&] { return conv2d_fused(other, image, kernel, empty).y; },
       {"conv2d_fused: ", "(2,6,5,3)", "(N,H/2,W/2,C1)", "(2,6,4,3)"}},
      {[&] {
         return conv2d_fused(of({2, 3, 2, 4}), image, kernel, empty).y;
       },
       {"conv2d_fused: ", "(2,6,4,7)", "7 channels", "(3,3,3,8)"}},
      {[&] { return conv2d_fused(empty, image, kernel, two).y; }, {"conv2d_fused: ", "(2)", "8 output channels"}},
      {[&] { return conv2d_fused(empty, empty, kernel, empty).y; }, {"conv2d_fused: ", "empty"}},
      {[&] { return conv2d(image, flat, empty); }, {"conv2d: ", "(2,6,4,3)", "(2,3)"}},
      {[&] { return conv2d(image, kernel, two); }, {"conv2d: ", "(2)", "8 output channels"}},
      {[&] {
         return conv2d(image, of({5, 5, 3, 8}), empty);
       },
       {"conv2d: ", "(5,5,3,8)", "(2,6,4,3)", "larger"}},
      {[&] {
         return conv2d(image, kernel, empty, {1, 0, 2});
       },
       {"conv2d: ", "(3,3,3,8)", "(2,6,4,3)", "dilation 2"}},
      {[&] {
         return conv2d(image, kernel, empty, {0, 0, 1});
       },
       {"conv2d: ", "stride 0"}},
      {[&] {
         return conv2d(image, kernel, empty, {1, -1, 1});
       },
       {"conv2d: ", "padding -1"}},
      {[&] {
         return conv2d(image, kernel, empty, {1, 0, 0});
       },
       {"conv2d: ", "dilation 0"}},
      {[&] {
         return conv2d(image, kernel, empty, {2, 1, 1, winograd});
       },
       {"conv2d: ", "Winograd", "stride 2", "3x3"}},
      {[&] {
         return conv2d(image, kernel, empty, {1, 1, 2, winograd});
       },
       {"conv2d: ", "Winograd", "dilation 2", "3x3"}},
      {[&] { return conv2d(doubles, kernel, empty); }, {"conv2d: ", "float64 (2,6,4,3)", "float32 (3,3,3,8)"}},
      {[&] {
         return conv_transpose2d(image, of({2, 2, 8, 5}), empty);
       },
       {"conv_transpose2d: ", "(2,6,4,3)", "(2,2,8,5)"}},
      {[&] { return conv_transpose2d(flat, kernel, empty); }, {"conv_transpose2d: ", "(2,3)", "(3,3,3,8)"}},
      {[&] {
         return conv_transpose2d(image, of({2, 2, 8, 3}), two);
       },
       {"conv_transpose2d: ", "(2)", "8 output"}},
      {[&] {
         return conv_transpose2d(image, of({2, 2, 8, 3}), empty, {2, 0, 2});
       },
       {"conv_transpose2d: ", "output_padding 2"}},
      {[&] {
         return conv_transpose2d(image, of({2, 2, 8, 3}), empty, {1, 4, 0});
       },
       {"conv_transpose2d: ", "(2,6,4,3)", "(2,2,8,3)", "padding 4"}},
      {[&] {
         return conv_transpose2d(image, of({2, 2, 8, 3}), empty, {2, 0, 0, winograd});
       },
       {"conv_transpose2d: ", "Winograd", "stride 2"}},
      {[&] {
         return linear(flat, of({4, 5}), empty);
       },
       {"linear: ", "(2,3)", "(4,5)"}},
      {[&] {
         return linear(flat, of({3, 5}), two);
       },
       {"linear: ", "(2)", "5 outputs"}},
      {[&] { return max_pool2d(flat); }, {"max_pool2d: ", "(2,3)"}},
      {[&] {
         return max_pool2d(image, {5, 2, 0});
       },
       {"max_pool2d: ", "kernel 5", "(2,6,4,3)"}},
      {[&] {
         return max_pool2d(image, {2, 2, 2});
       },
       {"max_pool2d: ", "padding 2", "half the kernel"}},
      {[&] {
         return max_pool2d(image, {2, 0, 0});
       },
       {"max_pool2d: ", "stride 0"}},
      {[&] { return avg_pool2d(flat); }, {"avg_pool2d: ", "(2,3)"}},
      {[&] {
         return avg_pool2d(image, {0, 1, 0});
       },
       {"avg_pool2d: ", "kernel 0"}},
      {[&] { return upsample2x(flat); }, {"upsample2x: ", "(2,3)", "(N,H,W,C)"}},
      {[&] { return batch_norm2d(image, two, three, {}, {}); }, {"batch_norm2d: ", "(2)", "(3)", "(2,6,4,3)"}},
      {[&] { return batch_norm2d(flat, three, three, {}, {}); }, {"batch_norm2d: ", "(2,3)", "(N,H,W,C)"}},
      {[&] {
         return batch_norm2d(of({1, 1, 1, 3}), three, three, {}, {});
       },
       {"batch_norm2d: ", "(1,1,1,3)", "variance"}},
      {[&] { return batch_norm2d(image, three, three, {}, {}, {.training = false}); },
       {"batch_norm2d: ", "running mean"}},
      {[&] { return group_norm(image, 2, three, three); }, {"group_norm: ", "2 groups", "(2,6,4,3)"}},
      {[&] { return group_norm(image, 0, three, three); }, {"group_norm: ", "0 groups"}},
      {[&] { return group_norm(image, 1, two, three); }, {"group_norm: ", "(2)", "(3)", "(2,6,4,3)"}},
      {[&] { return group_norm(flat, 1, three, three); }, {"group_norm: ", "(2,3)"}},
      {[&] { return instance_norm(flat, three, three); }, {"instance_norm: ", "(2,3)"}},
      {[&] { return instance_norm(image, two, three); }, {"_norm: ", "(2)", "(3)", "(2,6,4,3)"}},
      {[&] { return dice_loss(image, other); }, {"dice_loss: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return bce_with_logits(image, other); }, {"bce_with_logits: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return mse_loss(image, other); }, {"mse_loss: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return cross_entropy(image, other); }, {"cross_entropy: ", "(2,6,4,3)", "(2,6,5,3)"}},
      {[&] { return cross_entropy(flat, Tensor::full({2}, 3)); }, {"cross_entropy: ", "2 targets", "0 to 2"}},
      {[&] { return cross_entropy(flat, Tensor::full({2}, 0.5)); }, {"cross_entropy: ", "2 targets"}},
      {[&] { return cross_entropy(flat, Tensor::full({2}, -1)); }, {"cross_entropy: ", "2 targets"}},
      {[&] { return cross_entropy(flat, Tensor::full({2}, NAN)); }, {"cross_entropy: ", "2 targets"}},
  };
  for (const Refusal& refusal : refusals) {
    const std::string message = error_of(refusal.op);
    for (const std::string& part : refusal.message) CHECK_THAT(message, Catch::Contains(part));
    CHECK_THAT(message, Catch::StartsWith(refusal.message[0]) || Catch::Contains("_norm: "));
  }
}
