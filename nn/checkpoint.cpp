#include "nn/checkpoint.h"

#include <nlohmann/json.hpp>

namespace acinus {

Tensor to_pytorch_layout(const Tensor& p) {
  if (p.shape().rank() == 4) return p.permuted({3, 2, 0, 1});
  return p.shape().rank() == 2 ? p.permuted({1, 0}) : p.detach();
}

Tensor from_pytorch_layout(const Tensor& p) {
  if (p.shape().rank() == 4) return p.permuted({2, 3, 1, 0});
  return p.shape().rank() == 2 ? p.permuted({1, 0}) : p.detach();
}

NamedTensors state_dict(const Module& module) {
  NamedTensors state = module.state();
  for (auto& [name, tensor] : state) tensor = to_pytorch_layout(tensor.to(Device::cpu));
  return state;
}

void load_state_dict(const Module& module, const SafeTensors& state, const std::string& source) {
  NamedTensors own = module.state();
  std::string missing, unexpected, misshaped;
  NamedTensors loaded;
  for (const auto& [name, tensor] : own) {
    if (!state.contains(name)) {
      missing += "\n  missing:    " + name + text(" ", to_pytorch_layout(tensor).shape());
      continue;
    }
    const Tensor& theirs = state[name];
    const Tensor converted = from_pytorch_layout(theirs);
    if (converted.shape() != tensor.shape())
      misshaped +=
          text("\n  mis-shaped: ", name, " is ", theirs.shape(), ", expected ", to_pytorch_layout(tensor).shape());
    loaded.emplace_back(name, converted);
  }
  for (const auto& [name, tensor] : state.tensors) {
    const bool known =
        std::any_of(own.begin(), own.end(), [&, &name = name](const auto& o) { return o.first == name; });
    if (!known && name.rfind("optimizer.", 0) != 0) unexpected += "\n  unexpected: " + name + text(" ", tensor.shape());
  }
  if (!(missing + unexpected + misshaped).empty())
    fail(source, " holds another network than the one asked for:", missing, unexpected, misshaped);
  for (size_t i = 0; i < own.size(); i++) own[i].second.copy_from(loaded[i].second);
}

std::string to_json(const UNetOptions& o) {
  return nlohmann::ordered_json{{"in", o.in},
                                {"out", o.out},
                                {"width", o.width},
                                {"depth", o.depth},
                                {"up", name(o.up)},
                                {"norm", name(o.norm)},
                                {"norm_groups", o.norm_groups},
                                {"init", name(o.init)},
                                {"deep_supervision", o.deep_supervision}}
      .dump();
}

UNetOptions unet_options_from_json(const std::string& text, const std::string& source) {
  try {
    const auto j = nlohmann::json::parse(text);
    UNetOptions o;
    o.in = j.at("in");
    o.out = j.at("out");
    o.width = j.at("width");
    o.depth = j.at("depth");
    o.up = named<Up>(j.at("up"));
    o.norm = named<NormKind>(j.at("norm"));
    o.norm_groups = j.at("norm_groups");
    o.init = named<Init>(j.at("init"));
    o.deep_supervision = j.value("deep_supervision", int64_t(0));  // files from before it have none
    return o;
  } catch (const nlohmann::json::exception& e) {
    fail(source, ": its \"unet.config\" is damaged: ", e.what());
  }
}

std::string to_json(const ResNetOptions& o) {
  return nlohmann::ordered_json{{"in", o.in},         {"width", o.width},     {"stages", o.stages},
                                {"blocks", o.blocks}, {"norm", name(o.norm)}, {"norm_groups", o.norm_groups}}
      .dump();
}

ResNetOptions resnet_options_from_json(const std::string& text, const std::string& source) {
  try {
    const auto j = nlohmann::json::parse(text);
    ResNetOptions o;
    o.in = j.at("in");
    o.width = j.at("width");
    o.stages = j.at("stages");
    o.blocks = j.at("blocks");
    o.norm = named<NormKind>(j.at("norm"));
    o.norm_groups = j.at("norm_groups");
    return o;
  } catch (const nlohmann::json::exception& e) {
    fail(source, ": its \"resnet.config\" is damaged: ", e.what());
  }
}

namespace {

constexpr const char* kUNet = "unet.config";
constexpr const char* kResNet = "resnet.config";

// A damaged configuration must not fill the memory: the deepest layers' weights should lie in the file. (A little more
// is let through, to the list of names that do not fit.)
void check_size(const SafeTensors& file, const char* key, int64_t weights, const std::string& path) {
  int64_t there = 0;
  for (const auto& [name, tensor] : file.tensors) there += tensor.elements();
  if (weights > there + (1 << 24))
    fail(path, ": its \"", key, "\" asks for layers of ", weights, " weights; all tensors together hold ", there);
}

}  // namespace

LoadedUNet load_unet(const std::string& path) {
  SafeTensors file = read_safetensors(path);
  const auto config = file.metadata.find(kUNet);
  if (config == file.metadata.end() && file.metadata.contains(kResNet))
    fail(path,
         ": holds a classifier of candidates (./train --task classify); here a U-Net is needed, which finds them");
  if (config == file.metadata.end())
    fail(path, ": has no \"", kUNet, "\" in its metadata; it was not written by ./train");
  const UNetOptions options = unet_options_from_json(config->second, path);
  check_options(options);
  const int64_t deepest = options.width << options.depth;
  check_size(file, kUNet, 9 * deepest * std::max(options.in, deepest), path);
  LoadedUNet loaded{make_unet(options, /*seed=*/0), file.metadata};
  load_state_dict(*loaded.net, file, path);
  loaded.net->eval();
  return loaded;
}

LoadedResNet load_resnet(const std::string& path) {
  SafeTensors file = read_safetensors(path);
  const auto config = file.metadata.find(kResNet);
  if (config == file.metadata.end() && file.metadata.contains(kUNet))
    fail(path,
         ": holds a U-Net, which finds candidates; here a classifier of them is needed (./train --task classify)");
  if (config == file.metadata.end())
    fail(path, ": has no \"", kResNet, "\" in its metadata; it was not written by ./train --task classify");
  const ResNetOptions options = resnet_options_from_json(config->second, path);
  check_options(options);
  const int64_t deepest = options.width << (options.stages - 1);
  check_size(file, kResNet, 9 * (options.in * options.width + 2 * options.blocks * deepest * deepest), path);
  LoadedResNet loaded{std::make_unique<ResNet>(options, /*seed=*/0), file.metadata};
  load_state_dict(*loaded.net, file, path);
  loaded.net->eval();
  return loaded;
}

}  // namespace acinus
