#!/usr/bin/env python3
"""The twin of step.cpp in PyTorch: the same U-Net, data, loss and optimiser; prints the same lines. Where PyTorch has
several ways, the faster one is meant: fused Adam, ReLU in place, inference_mode; bench.py tries both layouts and
torch.compile. torch_gpu.py does it on the GPU, and onnx_step.py without PyTorch, from the file that --export writes."""
import argparse
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, channels_in, channels_out, norm):
        super().__init__()
        make = {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(channels_out),
                "group": lambda: nn.GroupNorm(8, channels_out), "instance": lambda: nn.InstanceNorm2d(channels_out, affine=True)}[norm]
        self.conv1, self.norm1 = nn.Conv2d(channels_in, channels_out, 3, padding=1), make()
        self.conv2, self.norm2 = nn.Conv2d(channels_out, channels_out, 3, padding=1), make()

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)), inplace=True)


class UNet(nn.Module):
    def __init__(self, channels_in, width, depth, norm):
        super().__init__()
        widths = [width << i for i in range(depth + 1)]
        self.encoder = nn.ModuleList(Block(widths[i - 1] if i else channels_in, widths[i], norm) for i in range(depth + 1))
        self.decoder = nn.ModuleList(Block(widths[i + 1] + widths[i], widths[i], norm) for i in reversed(range(depth)))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        skips = []
        for block in self.encoder[:-1]:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.encoder[-1](x)
        for block in self.decoder:
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], 1))
        return self.head(x)


def dice_loss(p, t):
    return -(2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def prepare(a, width, depth, batch, size):
    """Returns the network, an image for it, and the work: a function to call again and again."""
    layout = torch.channels_last if a.layout == "channels_last" else torch.contiguous_format
    net = UNet(a.channels, width, depth, a.norm).to(memory_format=layout).train(a.train == "true")
    x = torch.randn(batch, a.channels, size, size).to(memory_format=layout)
    t = (torch.rand(batch, 1, size, size) < 0.05).float()

    def predict(x):
        return torch.sigmoid(net(x))

    def loss(x, t):
        return dice_loss(predict(x), t)

    if a.compile:
        predict, loss = torch.compile(predict, dynamic=False), torch.compile(loss, dynamic=False)
    try:
        adam = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True)
    except RuntimeError:  # before PyTorch 2.4, on the CPU
        adam = torch.optim.Adam(net.parameters(), lr=1e-5)

    def train():
        adam.zero_grad()
        loss(x, t).backward()
        adam.step()

    @torch.inference_mode()
    def forward():
        predict(x)

    return net, x, train if a.train == "true" else forward


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main():
    parser = argparse.ArgumentParser()
    for name, default in dict(size=512, batch=2, width=32, depth=4, repeat=3, threads=0).items():
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--in", dest="channels", type=int, default=1)
    parser.add_argument("--norm", default="none")
    parser.add_argument("--train", default="true", choices=["true", "false"])
    parser.add_argument("--layout", default="channels_last", choices=["channels_last", "contiguous"])
    parser.add_argument("--compile", action="store_true", help="by torch.compile")
    parser.add_argument("--turns", action="store_true", help="a repetition for each line of the input, see bench.py")
    parser.add_argument("--export", metavar="FILE", help="write the network and its sigmoid as ONNX, and no more")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.export:
        net, x, _ = prepare(a, a.width, a.depth, a.batch, a.size)
        # The older exporter: it takes two seconds instead of ten, and makes the same file of so plain a network.
        torch.onnx.export(nn.Sequential(net, nn.Sigmoid()).eval(), (x,), a.export, dynamo=False)
        return
    compiles, a.compile = a.compile, False
    # PyTorch loads much of its code, 150 MB and more, when it is first called. That is not what a step takes.
    prepare(a, width=8, depth=1, batch=1, size=16)[-1]()
    a.compile = compiles
    before = peak_mb()
    work = prepare(a, a.width, a.depth, a.batch, a.size)[-1]
    for i, _ in enumerate(sys.stdin if a.turns else range(a.repeat + 1)):
        start = time.perf_counter()
        try:
            work()
        except Exception as e:  # above all, no C++ compiler for what torch.compile writes
            print("skip", " ".join(str(e).split())[:150])
            return
        if i > 0 or a.turns:
            print(f"ms {(time.perf_counter() - start) * 1e3:.2f}", flush=True)
    if not a.compile:  # whose compiler takes most
        print(f"mb {peak_mb() - before:.0f}")


if __name__ == "__main__":
    main()
