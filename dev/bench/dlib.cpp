// dlib: the twin of step.cpp in dlib (Debian's libdlib-dev), for `--depth 0`: two convolutions 3x3 with ReLU, then one
// 1x1; a training step with Adam. The loss is dlib's mean squared error; on one channel it costs next to nothing, like
// the Dice loss of the others. Works once for each line of the input and prints "ms <number>", as dev/bench/bench.py
// wants it; first the version, and the BLAS that its matrix products are computed by.
//
//   yes "" | head -3 | build/bench_dlib SIZE BATCH
#include <dlfcn.h>
#include <dlib/dnn.h>
#include <dlib/revision.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

constexpr int channels = 32;  // a type's constants in dlib
using Image = std::array<dlib::matrix<float>, channels>;
template <int out, int kernel, class Below>
using Conv = dlib::add_layer<dlib::con_<out, kernel, kernel, 1, 1, kernel / 2, kernel / 2>, Below>;
using Net = dlib::loss_mean_squared_per_pixel<
    Conv<1, 1, dlib::relu<Conv<channels, 3, dlib::relu<Conv<channels, 3, dlib::input<Image>>>>>>>;

static const char* blas() {  // Debian lets libblas.so.3 be any of several
  Dl_info info{};
  dladdr(dlsym(RTLD_DEFAULT, "cblas_sgemm"), &info);
  const char* path = info.dli_fname ? realpath(info.dli_fname, nullptr) : nullptr;
  return path && std::strstr(path, "openblas") ? "OpenBLAS" : "a BLAS that is not OpenBLAS";
}

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "bench_dlib SIZE BATCH\n"), 2;
  const long size = std::atol(argv[1]);
  const size_t batch = size_t(std::atol(argv[2]));
  std::printf("%d.%d with %s\n", DLIB_MAJOR_VERSION, DLIB_MINOR_VERSION, blas());
  dlib::rand random;
  const auto picture = [&](auto value) {
    dlib::matrix<float> m(size, size);
    for (float& v : m) v = float(value());
    return m;
  };
  std::vector<Image> x(batch);
  std::vector<dlib::matrix<float>> t;
  for (Image& image : x) {
    for (auto& channel : image) channel = picture([&] { return random.get_random_gaussian(); });
    t.push_back(picture([&] { return random.get_random_double() < 0.05; }));
  }
  Net net;
  dlib::resizable_tensor input;
  net.to_tensor(x.begin(), x.end(), input);
  std::vector<dlib::adam> adam(net.num_computational_layers, dlib::adam());
  while (std::getchar() != EOF) {
    const auto start = std::chrono::steady_clock::now();
    net.compute_parameter_gradients(input, t.begin());
    net.update_parameters(adam, 1e-5);
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
    std::printf("ms %.2f\n", ms.count());
    std::fflush(stdout);
  }
}
