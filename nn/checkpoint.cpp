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
    o.up = up_named(j.at("up"));
    o.norm = norm_named(j.at("norm"));
    o.norm_groups = j.at("norm_groups");
    o.init = init_named(j.at("init"));
    o.deep_supervision = j.value("deep_supervision", int64_t(0));  // files from before it have none
    return o;
  } catch (const nlohmann::json::exception& e) {
    fail(source, ": its \"unet.config\" is damaged: ", e.what());
  }
}

LoadedUNet load_unet(const std::string& path) {
  SafeTensors file = read_safetensors(path);
  const auto config = file.metadata.find("unet.config");
  if (config == file.metadata.end())
    fail(path, ": has no \"unet.config\" in its metadata; it was not written by ./train");
  const UNetOptions options = unet_options_from_json(config->second, path);
  check_options(options);
  // A damaged configuration must not fill the memory: the deepest layer's weights should lie in the file. (A little
  // more is let through, to the list of names that do not fit.)
  const int64_t deepest = options.width << options.depth, weights = 9 * deepest * std::max(options.in, deepest);
  int64_t there = 0;
  for (const auto& [name, tensor] : file.tensors) there += tensor.elements();
  if (weights > there + (1 << 24))
    fail(path, ": its \"unet.config\" asks for a layer of ", weights, " weights; all tensors together hold ", there);
  LoadedUNet loaded{std::make_unique<UNet>(options, /*seed=*/0), file.metadata};
  load_state_dict(*loaded.net, file, path);
  loaded.net->eval();
  return loaded;
}

}  // namespace acinus
