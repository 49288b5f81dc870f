// Networks to and from .safetensors files, in the layouts that PyTorch uses:
//   convolution             ours (KH,KW,in,out)   PyTorch (out,in,KH,KW)
//   transposed convolution  ours (KH,KW,out,in)   PyTorch (in,out,KH,KW)       the same reversal
//   linear                  ours (in,out)         PyTorch (out,in)
// The metadata of a network's file say how to build it: "unet.config" is a JSON object of UNetOptions, "resnet.config"
// one of ResNetOptions. A file of the one kind is refused where the other is wanted.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "nn/deep_supervision.h"
#include "nn/resnet.h"
#include "tensor/io/safetensors.h"

namespace acinus {

Tensor to_pytorch_layout(const Tensor& parameter);    // any rank; only ranks 2 and 4 change
Tensor from_pytorch_layout(const Tensor& parameter);  // the inverse

// The module's parameters and buffers, in PyTorch's layouts: what a state_dict() would hold.
NamedTensors state_dict(const Module& module);
// Overwrites them. Strict: throws Error that lists the missing, the unexpected and the mis-shaped names, having
// changed nothing. Names that start with "optimizer." belong to training (in our layouts) and are passed over. `source`
// names the file in the message.
void load_state_dict(const Module& module, const SafeTensors& state, const std::string& source);

std::string to_json(const UNetOptions& options);
std::string to_json(const ResNetOptions& options);
UNetOptions unet_options_from_json(const std::string& text, const std::string& source);

template <class Net>
struct Loaded {
  std::unique_ptr<Net> net;                     // in eval mode
  std::map<std::string, std::string> metadata;  // all of the file's
};
using LoadedUNet = Loaded<UNet>;
using LoadedResNet = Loaded<ResNet>;
LoadedUNet load_unet(const std::string& path);
LoadedResNet load_resnet(const std::string& path);

}  // namespace acinus
