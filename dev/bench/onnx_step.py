#!/usr/bin/env python3
"""The forward pass of step.cpp by ONNX Runtime or OpenVINO, from the file that torch_step.py --export writes; prints
the same lines. Each gets what makes it fast: every optimisation of the graph (batch norm is folded into the
convolutions) and OpenVINO's settings for one image at a time. But both compute in float32, as ours does: OpenVINO would
choose bfloat16 by itself where the processor multiplies that faster."""
import argparse
import resource
import sys
import time


def onnxruntime(file, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    yield  # loaded
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    yield tuple(image.shape), lambda x: session.run(None, {image.name: x})


def openvino(file, threads):
    import openvino

    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    yield
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(file, "CPU", settings).create_infer_request()
    yield tuple(request.model_inputs[0].shape), lambda x: request.infer([x], share_inputs=True)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--by", choices=["onnxruntime", "openvino"], required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--threads", type=int, required=True)
    a = parser.parse_args()
    import numpy

    runtime = globals()[a.by](a.file, a.threads)
    next(runtime)
    before = peak_mb()
    shape, infer = next(runtime)
    x = numpy.random.default_rng(0).standard_normal(shape, numpy.float32)
    for _ in sys.stdin:  # a repetition for each line, see bench.py
        start = time.perf_counter()
        infer(x)
        print(f"ms {(time.perf_counter() - start) * 1e3:.2f}", flush=True)
    print(f"mb {peak_mb() - before:.0f}")


if __name__ == "__main__":
    main()
