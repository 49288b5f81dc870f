// seeds DIR: writes the fuzzers' initial corpus, small valid files of every form: DIR/metaimage/..., DIR/npy/..., and so
// on. From a valid file a fuzzer needs far fewer attempts to find the rare paths through a reader.
#include "tests/fuzz/seeds.h"

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "data/formats/nifti.h"
#include "data/formats/npy.h"
#include "data/formats/png.h"
#include "nn/checkpoint.h"
#include "tensor/io/file.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

namespace {

std::string folder;
int count = 0;

void into(const std::string& root, const char* format) {
  folder = root + "/" + format;
  std::filesystem::create_directories(folder);
  count = 0;
}
void seed(const std::string& content) { write_file(text(folder, "/", count++), content); }

void metaimage_seeds() {
  const std::string values = metaimage_data_files()[0].second;
  const std::string start = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 2\n", type = "ElementType = MET_SHORT\n";
  const std::string local = "ElementDataFile = LOCAL\n", file = "ElementDataFile = a.raw\n";
  seed(start + type + local + values);
  seed(start + type + file);
  seed(start + "TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = 195 195 -378\nElementSpacing = 0.76 0.76 2.5\n" +
       "CenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\nComment = kept\n" + type + local + values);
  seed(start + "Rotation = 0 1 0 1 0 0 0 0 1\nPosition = 1 2 3\nElementSize = 1 2 3\nModality = MET_MOD_CT\n" + type +
       local + values);
  seed(start + "ElementByteOrderMSB = True\n" + type + local + values);
  seed(start + "CompressedData = True\n" + type + local + deflated(values));
  seed(start + text("CompressedData = True\nCompressedDataSize = ", deflated(values).size(), "\n") + type +
       "ElementDataFile = a.zraw\n");
  seed(start + "BinaryData = False\n" + type + local + "1 2 3 4 5 6 7 8 9 10 11 -12\n");
  seed(start + "HeaderSize = 2\nElementNumberOfChannels = 2\nElementType = MET_UCHAR_ARRAY\n" + local + "xx" + values);
  seed(start + "HeaderSize = -1\n" + type + file);
  seed(start + type + "ElementDataFile = LIST\na1.raw\na2.raw\n");
  seed(start + type + "ElementDataFile = LIST 3\na.raw\n");
  seed(start + type + "ElementDataFile = a%d.raw 1 3 2\n");
  seed("NDims=2\r\nDimSize=3 1\r\nElementType=MET_DOUBLE\r\nElementDataFile=local\r\n" + values);
  seed("NDims = 4\nDimSize = 1 2 1 3\nElementType = MET_FLOAT\n" + local + values);
  seed("NDims = 1\nDimSize = 3\nElementType = MET_ULONG_LONG\nBinaryDataByteOrderMSB = 1\n" + local + values);
}

void npy_seeds() {
  const std::string path = folder + "/new";
  const auto written = [&](const std::vector<int64_t>& shape, const auto& values) {
    write_npy(path, shape, values);
    seed(read_file(path, 1 << 20));
  };
  written({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  written({4}, std::vector<int16_t>{1, 2, 3, 4});
  written({}, std::vector<double>{1});
  written({0, 3}, std::vector<uint8_t>{});
  std::filesystem::remove(path);
  const auto by_hand = [&](int version, const std::string& header) {
    const std::string length = {char(header.size()), '\0', '\0', '\0'};
    seed(std::string("\x93NUMPY") + char(version) + '\0' + length.substr(0, version == 1 ? 2 : 4) + header +
         std::string(12, 'v'));
  };
  by_hand(1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n");
  by_hand(2, "{\"descr\": \"<f2\", \"fortran_order\": False, \"shape\": (6L,)}\n");
  by_hand(3, "{'shape': (12,), 'descr': '|b1', 'fortran_order': False}\n");
}

void nifti_seeds() {
  Image image;
  image.dims = {2, 3, 2}, image.spacing = {0.7, 0.7, 2.5}, image.origin = {-195, -195, -378};
  image.direction = {-1, 0, 0, 0, 0.8, 0.6, 0, -0.6, 0.8};
  for (ElementType type : {ElementType::i16, ElementType::u8, ElementType::f64}) {
    image.type = type;
    image.data.assign(size_t(image.bytes()), std::byte(1));
    for (const char* name : {"/new.nii", "/new.nii.gz"}) {
      write_nifti(folder + name, image, image.data);
      std::string file = read_file(folder + name, 1 << 20);
      seed(file);
      std::filesystem::remove(folder + name);
      if (name == std::string("/new.nii.gz")) continue;
      std::memcpy(&file[252], "\1\0\0\0", 4);  // the quaternion of qform instead of the matrix of sform
      const float slope_and_inter[2] = {2, -1024};
      std::memcpy(&file[112], slope_and_inter, 8);
      seed(file);
    }
  }
}

void safetensors_seeds() {
  const std::string path = folder + "/new";
  const auto written = [&](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
    write_safetensors(path, tensors, metadata);
    seed(read_file(path, 1 << 20));
    std::filesystem::remove(path);
  };
  written({{"a", Tensor::from({2}, {1, 2})}}, {});
  written({{"b", Tensor::zeros({}, DType::f64)}, {"none", Tensor::zeros({0, 3})}}, {{"format", "pt"}});
  UNetOptions options;
  options.width = options.depth = 1;
  written(state_dict(UNet(options, 1)), {{"unet.config", to_json(options)}});
  for (const char* type : {"F16", "BF16", "I16"}) {
    std::string header = text("{\"x\":{\"dtype\":\"", type, "\",\"shape\":[2],\"data_offsets\":[0,4]}}");
    header.resize(64, ' ');
    seed(std::string("\x40\0\0\0\0\0\0\0", 8) + header + "1234");
  }
}

void png_seeds() {
  for (int channels = 1; channels <= 4; channels++) {
    Picture picture{5, 3, channels, std::vector<uint8_t>(size_t(15 * channels))};
    for (size_t i = 0; i < picture.pixels.size(); i++) picture.pixels[i] = uint8_t(i * i);
    seed(encode_png(picture));
  }
}

void csv_seeds() {
  seed("seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,1.5,-2,3e1,6.4\n1.2.4,0,0,0,-1\n");
  seed("\xEF\xBB\xBFname\tnote\r\n\"a \"\"b\"\"\"\t\"two\nlines\"\r\n\r\nc\t\r\n");
  seed("x\n1\n");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) fail("usage: seeds DIR");
  const std::string root = argv[1];
  into(root, "metaimage"), metaimage_seeds();
  into(root, "nifti"), nifti_seeds();
  into(root, "npy"), npy_seeds();
  into(root, "safetensors"), safetensors_seeds();
  into(root, "png"), png_seeds();
  into(root, "csv"), csv_seeds();
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
