#include "nn/checkpoint.h"

#include "tensor/io/json.h"

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
  const std::string differences =
      state.differences(state_dict(module), [](const std::string& name) { return !name.starts_with("optimizer."); });
  if (!differences.empty()) fail(source, " holds another network than the one asked for:", differences);
  for (auto& [name, tensor] : module.state()) tensor.copy_from(from_pytorch_layout(state[name]));
}

namespace {

constexpr const char* kUNet = "unet.config";
constexpr const char* kResNet = "resnet.config";

// Calls f(key, option) for each option that a file holds.
template <class F>
void for_each_option(UNetOptions& o, F f) {
  f("in", o.in);
  f("out", o.out);
  f("width", o.width);
  f("depth", o.depth);
  f("up", o.up);
  f("norm", o.norm);
  f("norm_groups", o.norm_groups);
  f("init", o.init);
  f("deep_supervision", o.deep_supervision);
}

template <class F>
void for_each_option(ResNetOptions& o, F f) {
  f("in", o.in);
  f("width", o.width);
  f("stages", o.stages);
  f("blocks", o.blocks);
  f("norm", o.norm);
  f("norm_groups", o.norm_groups);
}

template <class Options>
std::string json_of(Options options) {
  Json j;
  for_each_option(options, [&](const char* key, const auto& option) {
    if constexpr (std::is_enum_v<std::decay_t<decltype(option)>>)
      j[key] = name(option);
    else
      j[key] = option;
  });
  return to_text(j);
}

template <class Options>
Options options_from_json(const char* config, const std::string& text, const std::string& source) {
  try {
    const Json j = parse_json(text);
    Options options;
    for_each_option(options, [&](const std::string& key, auto& option) {
      using Option = std::decay_t<decltype(option)>;
      if (key == "deep_supervision" && !j.find(key)) return;  // files from before it have none
      if constexpr (std::is_enum_v<Option>)
        option = named<Option>(j.at(key).as<std::string>());
      else
        option = j.at(key).as<Option>();
    });
    return options;
  } catch (const JsonError& e) {
    fail(source, ": its \"", config, "\" is damaged: ", e.what());
  }
}

template <class Options>
Options options_of(const SafeTensors& file, const char* config, const char* writer, const std::string& path) {
  const auto found = file.metadata.find(config);
  if (found == file.metadata.end())
    fail(path, ": has no \"", config, "\" in its metadata; it was not written by ", writer);
  const auto options = options_from_json<Options>(config, found->second, path);
  check_options(options);
  return options;
}

// A damaged configuration must not fill the memory: the deepest layers' weights should lie in the file. (A little more
// is let through, to the list of names that do not fit.)
void check_size(const SafeTensors& file, const char* config, int64_t weights, const std::string& path) {
  int64_t there = 0;
  for (const auto& [name, tensor] : file.tensors) there += tensor.elements();
  if (weights > there + (1 << 24))
    fail(path, ": its \"", config, "\" asks for layers of ", weights, " weights; all tensors together hold ", there);
}

template <class Net>
Loaded<Net> loaded(std::unique_ptr<Net> net, const SafeTensors& file, const std::string& path) {
  load_state_dict(*net, file, path);
  net->eval();
  return {std::move(net), file.metadata};
}

}  // namespace

std::string to_json(const UNetOptions& options) { return json_of(options); }
std::string to_json(const ResNetOptions& options) { return json_of(options); }

UNetOptions unet_options_from_json(const std::string& text, const std::string& source) {
  return options_from_json<UNetOptions>(kUNet, text, source);
}

Loaded<UNet> load_unet(const std::string& path) {
  const SafeTensors file = read_safetensors(path);
  if (!file.metadata.contains(kUNet) && file.metadata.contains(kResNet))
    fail(path,
         ": holds a classifier of candidates (./train --task classify); here a U-Net is needed, which finds them");
  const auto options = options_of<UNetOptions>(file, kUNet, "./train", path);
  const int64_t deepest = options.width << options.depth;
  check_size(file, kUNet, 9 * deepest * std::max(options.in, deepest), path);
  return loaded(make_unet(options, /*seed=*/0), file, path);
}

Loaded<ResNet> load_resnet(const std::string& path) {
  const SafeTensors file = read_safetensors(path);
  if (!file.metadata.contains(kResNet) && file.metadata.contains(kUNet))
    fail(path,
         ": holds a U-Net, which finds candidates; here a classifier of them is needed (./train --task classify)");
  const auto options = options_of<ResNetOptions>(file, kResNet, "./train --task classify", path);
  const int64_t deepest = options.width << (options.stages - 1);
  check_size(file, kResNet, 9 * (options.in * options.width + 2 * options.blocks * deepest * deepest), path);
  return loaded(std::make_unique<ResNet>(options, /*seed=*/0), file, path);
}

}  // namespace acinus
