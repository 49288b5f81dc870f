#!/usr/bin/env python3
"""make bench: how fast acinus is, as Markdown, beside PyTorch (eager in two layouts, and compiled), ONNX Runtime and
OpenVINO where PYTHON (python3) has them, and beside dlib where the machine has it.

    QUICK=1    tiny sizes: does it run at all?
    README=1   the main rows into README.md, everything into docs/speed.md; refuses while other programs are running

Each program works once for each line that it reads and answers "ms 12.3", or "skip why" where it cannot; at the end of
its input it says "mb 45". Its first call never counts: it compiles, asks for memory, and so on. Then all take turns,
so that a machine whose speed drifts is fair to them. Who has no turn is stopped, or its threads might still wait in a
busy loop. A turn is as many calls as fit into half a second; of several the first does not count, since the caches are
cold. Numbers are medians of the turns. A peer that takes one and a half times as long as another one soon has no more.
"""
import datetime
import os
import platform
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing

BEGIN, END = "<!-- bench:begin (written by make bench README=1) -->", "<!-- bench:end -->"
BUILD, QUICK, README = os.environ.get("BUILD", "build"), os.environ.get("QUICK") == "1", os.environ.get("README") == "1"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
COUNTS = sorted({n for n in (1, 2, 4, 8, 16) if n < CORES} | {CORES})
SIZE, PATCH, IMAGE = (32, 16, 32) if QUICK else (512, 64, 160)


class Row(typing.NamedTuple):
    """What is timed; its arguments are those of step.cpp and its twins."""

    name: str
    seconds: int  # for the rounds: no other begins after so many, but for the first three
    arguments: str

    @property
    def forward(self):
        return "--train false" in self.arguments


SEED, LAPTOP = "--width 32 --depth 4", "--in 3 --width 16 --depth 3 --norm batch"
if QUICK:
    SEED, LAPTOP = "--width 8 --depth 1", "--in 3 --width 8 --depth 1 --norm batch"
ROWS = [
    Row(f"seed network, {SIZE}x{SIZE}, training step, batch 2", 50, f"{SEED} --size {SIZE} --batch 2"),
    Row(f"seed network, {SIZE}x{SIZE}, forward, batch 1", 20, f"{SEED} --size {SIZE} --batch 1 --train false"),
    Row(f"laptop network, {PATCH}x{PATCH}, training step, batch 16", 15, f"{LAPTOP} --size {PATCH} --batch 16"),
    Row(f"laptop network, {IMAGE}x{IMAGE}, forward, batch 1", 10, f"{LAPTOP} --size {IMAGE} --batch 1 --train false"),
    Row(f"two convolutions of 32 channels, {PATCH}x{PATCH}, training step, batch 16", 10,
        f"--in 32 --width 32 --depth 0 --size {PATCH} --batch 16"),
]
PEERS = {"eager": "PyTorch, channels_last", "contiguous": "PyTorch, contiguous", "compile": "torch.compile",
         "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "dlib": "dlib"}


def say(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


# ---- taking turns ---------------------------------------------------------------------------------------------------


class Program:
    def __init__(self, name, command):
        self.name, self.times, self.mb, self.ended, self.why_not = name, [], None, False, ""
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, start_new_session=True)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def call(self):
        """Milliseconds; or why_not says why there are none."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        for line in self.process.stdout:
            if line.startswith("ms "):
                return float(line.split()[1])
            if line.startswith("skip "):
                self.why_not = line[5:].strip()
        self.errors.seek(0)
        self.why_not = self.why_not or (self.errors.read().strip() or "it ended").splitlines()[-1]
        return 0

    def turn(self):
        self.signal(signal.SIGCONT)
        first = self.call()
        more = [self.call() for _ in range(min(int(500 / max(first, 1)), 20))]
        self.times.append(statistics.median(more or [first]))
        self.signal(signal.SIGSTOP)

    def end(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        self.ended = True
        self.mb = next((float(line.split()[1]) for line in self.process.stdout if line.startswith("mb ")), None)

    @property
    def ms(self):
        return statistics.median(self.times)


def able(programs):
    """Those that work; of the others it is said why they do not."""
    for p in programs:
        if p.why_not and p.name in PEERS:
            say(f"without {PEERS[p.name]}: {p.why_not}")
        elif p.why_not:
            sys.exit(f"bench: bench_step: {p.why_not}")
    return [p for p in programs if not p.why_not]


def take_turns(seconds, commands):
    """{name: Program}, each with its times, of those that work."""
    started = []
    try:
        wait_until_quiet()
        for name, command in commands.items():
            started.append(Program(name, command))
            started[-1].call()
            started[-1].signal(signal.SIGSTOP)
        programs, begin, rounds = able(started), time.monotonic(), 0
        while rounds < (1 if QUICK else 3) or (not QUICK and time.monotonic() - begin < seconds):
            wait_until_quiet()
            for p in programs:
                if not p.ended:
                    p.turn()
            rounds += 1
            programs = able(programs)
            peers = [p for p in programs if p.name in PEERS]
            for p in peers:
                if not p.ended and p.ms > 1.5 * min(q.ms for q in peers):
                    p.end()
        for p in programs:
            if not p.ended:
                p.end()
        return {p.name: p for p in programs}
    finally:
        for p in started:
            p.signal(signal.SIGKILL)


# ---- is the machine quiet? ------------------------------------------------------------------------------------------

checks, disturbed = 0, 0


def share_of_others():
    """of the cores, over a third of a second in which nothing of ours runs (Linux; elsewhere 0)"""

    def clock():
        with open("/proc/stat") as f:
            ticks = [int(t) for t in f.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    try:
        (total, idle), _, (total2, idle2) = clock(), time.sleep(0.3), clock()
        return 1 - (idle2 - idle) / max(total2 - total, 1)
    except OSError:
        return 0


def wait_until_quiet():
    """Before each round. Numbers that are kept are taken when nothing else runs; for the others, it is counted."""
    global checks, disturbed
    checks += 1
    for _ in range(12):
        share = share_of_others()
        if share <= 0.1:
            return
        if not README:
            disturbed += 1
            return
        say(f"other programs take {share:.0%} of the cores: waiting")
        time.sleep(5)
    sys.exit("bench: this machine is too busy for numbers that README.md keeps. Nothing was written. End what `top` "
             "shows first and run it again; without README=1 the numbers are printed all the same.")


# ---- what there is --------------------------------------------------------------------------------------------------


def output_of(command):
    """What it prints, or "" if it fails."""
    done = subprocess.run(shlex.split(command), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return done.stdout.strip() if done.returncode == 0 else ""


def version(module):
    return output_of(f"{PYTHON} -c 'import {module}; print({module}.__version__)'").split("-")[0]


PYTHON = shlex.quote(sys.executable)
VERSIONS = {"PyTorch": version("torch"), "ONNX Runtime": version("onnxruntime"), "OpenVINO": version("openvino"),
            "dlib": output_of(f"{BUILD}/bench_dlib 8 1") if os.path.exists(f"{BUILD}/bench_dlib") else ""}


def machine():
    try:
        with open("/proc/cpuinfo") as f:
            info = f.read()
    except OSError:
        info = ""
    name = re.search(r"model name\s*: (.*)", info)
    vectors = [v for v in ("avx512f", "avx2", "asimd") if re.search(rf"\b{v}\b", info)]
    compiler = output_of(f"{os.environ.get('CXX') or 'g++'} --version").splitlines()
    facts = [name.group(1) if name else platform.machine(), f"{CORES} cores", *vectors[:1],
             f"{platform.system()} {platform.release()}", datetime.date.today().isoformat(), *compiler[:1]]
    return ", ".join(facts + [f"{name} {v}" for name, v in VERSIONS.items() if v]) + ".\n\n"


def commands(row, threads, scratch):
    """{name: command} of all that can do this row's work."""
    ours = f"{BUILD}/bench_step --turns true --threads {threads} {row.arguments}"
    result = {"acinus": ours}
    if row.name.startswith("seed") and not row.forward:
        result["recompute"] = ours + " --recompute"
    if VERSIONS["PyTorch"]:
        twin = f"{PYTHON} dev/bench/torch_step.py --turns --threads {threads} {row.arguments}"
        result.update({"eager": twin, "contiguous": twin + " --layout contiguous", "compile": twin + " --compile"})
        if row.forward:
            file = f"{scratch}/{row.name.split()[0]}.onnx"
            output_of(f"{twin} --export {file}")
            for module, name in (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
                if VERSIONS[name]:
                    result[module] = f"{PYTHON} dev/bench/onnx_step.py --by {module} --file {file} --threads {threads}"
    if VERSIONS["dlib"] and row.name.startswith("two"):
        result["dlib"] = f"env OPENBLAS_NUM_THREADS={threads} {BUILD}/bench_dlib {PATCH} 16"
    return result


# ---- tables ---------------------------------------------------------------------------------------------------------


def line(*cells):
    return "| " + " | ".join(map(str, cells)) + " |\n"


def head(*cells):
    return line(*cells) + "|---" * len(cells) + "|\n"


def short(x):
    return f"{x:.1f}" if x < 100 else f"{x:.0f}"


def main_line(name, threads, ours, done):
    """For README.md: beside the fastest peer, and the memory beside that of PyTorch's faster layout."""
    cells = [name, threads, short(ours.ms), "-", "-", f"{ours.mb:.0f}", "-", "-"]
    peers = [p for p in done.values() if p.name in PEERS]
    if peers:
        best = min(peers, key=lambda p: p.ms)
        cells[3:5] = [f"{short(best.ms)} ({PEERS[best.name]})", f"**{ours.ms / best.ms:.2f}**"]
    eager = [p for p in peers if p.name in ("eager", "contiguous")]
    if eager:
        mb = min(eager, key=lambda p: p.ms).mb
        cells[6:8] = [f"{mb:.0f}", f"**{ours.mb / max(mb, 1):.2f}**"]
    return line(*cells)


def full_line(name, threads, done):
    """For docs/speed.md: everybody's milliseconds and megabytes."""

    def cell(p):
        return "-" if p is None else short(p.ms) + (f" ({p.mb:.0f} MB)" if p.mb is not None else "")

    return line(name, threads, *(cell(done.get(key)) for key in ("acinus", *PEERS)))


def steps():
    small = head("what", "threads", "acinus ms", "ms of the fastest other", "ratio", "acinus MB", "PyTorch MB", "ratio")
    full = head("what", "threads", "acinus ms", *PEERS.values())
    dlib = ""
    begin, turns = time.monotonic(), [(threads, row) for threads in COUNTS for row in ROWS]
    with tempfile.TemporaryDirectory() as scratch:
        for i, (threads, row) in enumerate(turns):
            say(f"{i + 1} of {len(turns)}, {time.monotonic() - begin:.0f} s: {row.name}, threads: {threads}")
            done = take_turns(row.seconds, commands(row, threads, scratch))
            full += full_line(row.name, threads, done)
            if threads in (1, CORES):
                small += main_line(row.name, threads, done["acinus"], done)
                if "recompute" in done:
                    small += main_line("the same with `--recompute`", threads, done["recompute"], done)
            if "dlib" in done:
                dlib += f" {short(done['dlib'].ms)} ms with {threads} thread{'s' * (threads > 1)},"
    if dlib:
        small += f"\nThe two convolutions take dlib, which is also C++,{dlib[:-1]}.\n"
    return small, full


def layers():
    text = ""
    for threads in [CORES] if README else COUNTS:
        say(f"each layer, threads: {threads}")
        wait_until_quiet()
        text += output_of(f"{BUILD}/bench_conv --threads {threads} --size {SIZE} --repeat {1 if QUICK else 5}") + "\n\n"
    return text


def keep(page, table):
    """The table between the page's two lines."""
    with open(page) as f:
        before, rest = f.read().split(BEGIN + "\n")
    with open(page + ".tmp", "w") as f:
        f.write(before + BEGIN + "\n" + table.rstrip() + "\n" + END + rest.split(END)[1])
    os.replace(page + ".tmp", page)
    say("the table is in", page)


def refuse_early():
    """What would make all the timing in vain."""
    if os.environ.get("PYTHON") and not VERSIONS["PyTorch"]:
        sys.exit(f"bench: {sys.executable} has no PyTorch")
    if not README:
        return
    if not VERSIONS["PyTorch"] or QUICK:
        sys.exit("bench: README.md is for numbers beside PyTorch's (PYTHON=...), at full size")
    for page in ("README.md", "docs/speed.md"):
        with open(page) as f:
            if [text for text in f.read().splitlines() if text in (BEGIN, END)] != [BEGIN, END]:
                sys.exit(f"bench: {page} needs the lines '{BEGIN}' and '{END}' once, for the table to go between")


def main():
    os.environ["LC_ALL"] = "C"  # numbers with a point
    refuse_early()
    for name, found in VERSIONS.items():
        if not found:
            missing = "Debian: libdlib-dev libopenblas-dev" if name == "dlib" else f"{sys.executable} does not have it"
            say(f"without {name} ({missing})")
    if not QUICK:
        seconds = sum(row.seconds for row in ROWS) + (25 * len(ROWS) if VERSIONS["PyTorch"] else 0)
        say(f"about {len(COUNTS) * seconds / 60 + 1:.0f} minutes",
            "and, the first time, some more for what torch.compile compiles" if VERSIONS["PyTorch"] else "")
    small, full = steps()
    full += "\n" + layers()
    if disturbed:
        warning = (f"Other programs were running when {disturbed} of the {checks} rounds began, so these numbers are\n"
                   "not to be trusted, those of several threads least: some wait for each other in busy loops.\n")
        small, full = small + "\n" + warning, full + warning
    print(machine() + small + "\n" + full)
    if README:
        keep("README.md", machine() + small)
        keep("docs/speed.md", machine() + full)


if __name__ == "__main__":
    main()
