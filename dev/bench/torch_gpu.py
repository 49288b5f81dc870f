#!/usr/bin/env python3
"""PyTorch on the GPU, for dev/gpu_check.sh: first what the GPU can do, its ceilings, then the seed network's training
step and forward pass in several ways. PyTorch gets what makes it fast: channels-last, fused Adam, cuDNN's own search
for the fastest convolutions, steps that are asked for without waiting for the one before, and in one of its ways
("reduce-overhead") CUDA graphs, which replay a step's kernels without asking for each. Prints lines:

    tflops 1.0                      of an 8192^3 matrix product in bfloat16, on random numbers
    gbs 1.0                         of a copy of 2 GB on the GPU, bytes read and bytes written
    ms train2.eager.bf16 1.0        one for each step: workload and batch, how, precision
    mb train2.eager.bf16 1          the most that tensors held; PyTorch does not count what a graph's kernels use
    skip train2.compile.bf16 why    this way did not work here

The rounds repeat all ways in turn; --between runs a command before each, so that something else takes turns with them.
"""
import argparse
import contextlib
import signal
import statistics
import subprocess
import time

import torch

from torch_step import UNet, dice_loss


def say(*words):
    print(*words, flush=True)


class Clock:
    """Milliseconds of each of several calls, by events in the GPU's own queue; on the CPU by its clock."""

    def __init__(self, device):
        self.gpu = device == "cuda"

    def time(self, work, calls):
        marks = []
        for i in range(calls + 1):
            if i > 0:
                work()
            if self.gpu:
                marks.append(torch.cuda.Event(enable_timing=True))
                marks[-1].record()
            else:
                marks.append(time.perf_counter())
        if not self.gpu:
            return [(b - a) * 1e3 for a, b in zip(marks, marks[1:])]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]

    def median(self, work, calls=20):
        self.time(work, 5)
        return statistics.median(self.time(work, calls))


def print_ceilings(a, clock):
    n, size = (256, 10**6) if a.quick else (8192, 2 * 10**9)
    x, y = (torch.randn(n, n, device=a.device, dtype=torch.bfloat16) for _ in range(2))
    say(f"tflops {2e-9 * n**3 / clock.median(lambda: x @ y):.4g}")
    source = torch.ones(size, device=a.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    say(f"gbs {2e-6 * size / clock.median(lambda: target.copy_(source)):.4g}")


@contextlib.contextmanager
def at_most(seconds):
    """Raises TimeoutError in what takes longer, such as a compilation."""

    def stop(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Way:
    """One workload, done in one way. All share a network and its optimiser, and hold nothing between their turns."""

    others = 0  # bytes that are neither the network's nor a way's, such as cuBLAS's since the matrix products

    def __init__(self, a, net, adam, workload, batch, how, precision):
        self.name = f"{workload}{batch}.{how}.{precision}"
        self.shape, self.device, self.precision, self.adam = (batch, 1, a.size, a.size), a.device, precision, adam

        def predict(x):
            with torch.autocast(a.device, torch.bfloat16, enabled=precision == "bf16"):
                logits = net(x)
            return torch.sigmoid(logits.float())

        def loss(x, t):
            return dice_loss(predict(x), t)

        self.compiles = how != "eager"
        if self.compiles:
            mode = None if how == "compile" else how
            predict, loss = (torch.compile(f, dynamic=False, mode=mode) for f in (predict, loss))
        self.in_graphs = how == "reduce-overhead"

        def begin_step():
            if self.in_graphs:  # what the last step left in the graphs' memory may be overwritten
                torch.compiler.cudagraph_mark_step_begin()

        def forward(x, t):
            begin_step()
            with torch.inference_mode():
                predict(x)

        def train(x, t):
            begin_step()
            adam.zero_grad(set_to_none=True)
            loss(x, t).backward()
            adam.step()

        self.work = forward if workload == "forward" else train

    def take_turn(self, clock, warm_up, calls):
        """Milliseconds of each call, or None if it fails: whatever it is, the other ways go on."""
        gpu = self.device == "cuda"
        times = None
        try:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            x = torch.randn(self.shape, device=self.device).to(memory_format=torch.channels_last)
            t = (torch.rand(self.shape, device=self.device) < 0.05).float()
            clock.time(lambda: self.work(x, t), warm_up)
            times = clock.time(lambda: self.work(x, t), calls)
        except Exception as error:
            say(f"skip {self.name} {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
        self.mb = (torch.cuda.max_memory_allocated() - self.others) / 2**20 if gpu else 0
        self.adam.zero_grad(set_to_none=True)
        x = t = None
        if gpu:
            torch.cuda.empty_cache()
        return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=20, help="timed steps of each way in a round")
    parser.add_argument("--between", default="", help="a bash command to run before each round")
    parser.add_argument("--compile-seconds", type=int, default=60, help="a way that compiles for longer is left out")
    parser.add_argument("--seconds", type=float, default=1e9, help="then nothing is compiled and no other round begins")
    a = parser.parse_args()
    begin = time.monotonic()
    width, depth, a.size, train, calls = (8, 2, 16, (1, 2), 2) if a.quick else (32, 4, 512, (2, 8), a.repeat)
    if a.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch_gpu.py: this PyTorch finds no GPU")
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    clock = Clock(a.device)
    say("torch", torch.__version__)
    print_ceilings(a, clock)

    if a.device == "cuda":
        Way.others = torch.cuda.memory_allocated()
    net = UNet(1, width, depth, "none").to(a.device).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True)
    # Eager ones first: what a failing compiler leaves behind does not touch them.
    hows = [("eager", "fp32"), ("eager", "tf32"), ("eager", "bf16"), ("compile", "bf16"), ("reduce-overhead", "bf16")]
    work = [("train", train[0]), ("train", train[1]), ("forward", 1)]
    ways = [Way(a, net, adam, *w, *how) for how in hows for w in work]
    working = []
    for way in ways:  # the first calls, which compile and search
        if way.compiles and time.monotonic() - begin > a.seconds:
            say(f"skip {way.name} no time left to compile it")
            continue
        with at_most(a.compile_seconds):
            if way.take_turn(clock, 3, 1):
                working.append(way)

    for turn in range(a.rounds):
        if turn > 0 and time.monotonic() - begin > a.seconds:
            say(f"skip rounds no time left for more than {turn}")
            break
        if a.between:
            code = subprocess.run(["bash", "-c", a.between]).returncode
            if code != 0:
                say(f"skip between exit code {code}")
        for way in list(working):
            times = way.take_turn(clock, 3, calls)
            if times is None:
                working.remove(way)
                continue
            for ms in times:
                say(f"ms {way.name} {ms:.4f}")
            if not way.in_graphs:
                say(f"mb {way.name} {way.mb:.0f}")


if __name__ == "__main__":
    main()
