"""unpool beside PyTorch: medians and ratios, each in a process of its own, in turn, with the same number of threads.

    python benchmarks/compare.py [--threads 2] [--rounds 3] [--json FILE]

Every round runs one process of each peer, one after the other, so that a change of the machine's mood meets both; a
case's figure is the median over the rounds of each process's median.  Cases are those of the design: float32 values,
int64 indices, (8, 64, 112, 112) pooled unless the name says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

PEERS = ("unpool", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="also write every figure to a file")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)  # what the child processes are told
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(measure(options.peer, options.threads)))
        return

    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    runs: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    versions = {}
    for _ in range(options.rounds):
        for peer in PEERS:
            command = [sys.executable, __file__, "--peer", peer, "--threads", str(options.threads)]
            result = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            report = json.loads(result.stdout)
            runs[peer].append(report["milliseconds"])
            versions[peer] = report["version"]

    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads; unpool {versions['unpool']}, ",
        end="",
    )
    print(f"PyTorch {versions['torch']}, NumPy {np.__version__}; medians of {options.rounds} processes, ms\n")
    print("| case | unpool | PyTorch | ratio |\n|---|---|---|---|")
    for case in runs["unpool"][0]:
        ours = statistics.median(run[case] for run in runs["unpool"])
        # What PyTorch lacks is held against the nearest that it has.
        theirs = statistics.median(run[case.removesuffix(", out=")] for run in runs["torch"])
        print(f"| {case} | {ours:.4g} | {theirs:.4g} | {theirs / ours:.2f} |")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"threads": options.threads, "versions": versions, "runs": runs}, file, indent=1)


def measure(peer: str, threads: int) -> dict[str, Any]:
    cases, version = unpool_cases() if peer == "unpool" else torch_cases(threads)
    return {"version": version, "milliseconds": {name: median(call) for name, call in cases.items()}}


def median(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Milliseconds of a call, after warming up for a few, over about a second."""
    for _ in range(3):
        call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    # Short calls are timed many at a time: the clock itself takes a part of a microsecond.
    batch = max(1, round(1e-3 / once))
    times = []
    while time.perf_counter() - start < seconds or len(times) < 5:
        before = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - before) / batch)
    return statistics.median(times) * 1e3


def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"usual": (8, 64, 224, 224), "small": (16, 512, 28, 28), "one": (1, 1, 4096, 4096), "tiny": (1, 1, 4, 4)}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def unpool_cases() -> tuple[dict[str, Callable[[], object]], str]:
    import unpool

    x = inputs()
    pooled = {name: unpool.max_pool2d(array, 2, return_indices=True) for name, array in x.items()}
    last = np.ascontiguousarray(np.moveaxis(x["usual"], 1, -1))
    channels_last: Any = {"data_format": "channels_last"}
    values_last, indices_last = unpool.max_pool2d(last, 2, return_indices=True, **channels_last)
    overlapping = unpool.max_pool2d(x["usual"], 3, 2, return_indices=True)
    out, indices = np.empty_like(x["usual"]), pooled["usual"][1]
    cases: dict[str, Callable[[], object]] = {
        "unpool k2": lambda: unpool.max_unpool2d(*pooled["usual"], 2),
        "unpool k2, out=": lambda: unpool.max_unpool2d(*pooled["usual"], 2, out=out),
        "unpool k2, channels last": lambda: unpool.max_unpool2d(values_last, indices_last, 2, **channels_last),
        "unpool k2, (16, 512, 14, 14)": lambda: unpool.max_unpool2d(*pooled["small"], 2),
        "unpool k2, (1, 1, 2048, 2048)": lambda: unpool.max_unpool2d(*pooled["one"], 2),
        "unpool k2, (1, 1, 2, 2)": lambda: unpool.max_unpool2d(*pooled["tiny"], 2),
        "unpool k3 s2": lambda: unpool.max_unpool2d(*overlapping, 3, 2, output_size=(224, 224)),
        "gradient of unpool, last": lambda: unpool.max_unpool2d_backward(x["usual"], indices, 2),
        "gradient of unpool, sum": lambda: unpool.max_unpool2d_backward(x["usual"], indices, 2, duplicates="sum"),
        "pool k2": lambda: unpool.max_pool2d(x["usual"], 2, return_indices=True),
        "pool k2, channels last": lambda: unpool.max_pool2d(last, 2, return_indices=True, **channels_last),
        "pool k3 s2": lambda: unpool.max_pool2d(x["usual"], 3, 2, return_indices=True),
        "pool k3 s2, channels last": lambda: unpool.max_pool2d(last, 3, 2, return_indices=True, **channels_last),
        "pool k3 s1": lambda: unpool.max_pool2d(x["usual"], 3, 1, return_indices=True),
    }
    return cases, unpool.__version__


def torch_cases(threads: int) -> tuple[dict[str, Callable[[], object]], str]:
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    x = {name: torch.from_numpy(array) for name, array in inputs().items()}
    pooled = {name: functional.max_pool2d(array, 2, return_indices=True) for name, array in x.items()}
    last = x["usual"].contiguous(memory_format=torch.channels_last)
    pooled_last = functional.max_pool2d(last, 2, return_indices=True)
    overlapping = functional.max_pool2d(x["usual"], 3, 2, return_indices=True)
    flat, indices = x["usual"].flatten(2), pooled["usual"][1].flatten(2)

    def gradient() -> object:
        # What PyTorch's own derivative of max_unpool2d does; it has no gradient of "last".
        return torch.gather(flat, 2, indices)

    cases: dict[str, Callable[[], object]] = {
        "unpool k2": lambda: functional.max_unpool2d(*pooled["usual"], 2),
        "unpool k2, channels last": lambda: functional.max_unpool2d(*pooled_last, 2),
        "unpool k2, (16, 512, 14, 14)": lambda: functional.max_unpool2d(*pooled["small"], 2),
        "unpool k2, (1, 1, 2048, 2048)": lambda: functional.max_unpool2d(*pooled["one"], 2),
        "unpool k2, (1, 1, 2, 2)": lambda: functional.max_unpool2d(*pooled["tiny"], 2),
        "unpool k3 s2": lambda: functional.max_unpool2d(*overlapping, 3, 2, output_size=(224, 224)),
        "gradient of unpool, last": gradient,
        "gradient of unpool, sum": gradient,
        "pool k2": lambda: functional.max_pool2d(x["usual"], 2, return_indices=True),
        "pool k2, channels last": lambda: functional.max_pool2d(last, 2, return_indices=True),
        "pool k3 s2": lambda: functional.max_pool2d(x["usual"], 3, 2, return_indices=True),
        "pool k3 s2, channels last": lambda: functional.max_pool2d(last, 3, 2, return_indices=True),
        "pool k3 s1": lambda: functional.max_pool2d(x["usual"], 3, 1, return_indices=True),
    }
    return cases, torch.__version__


if __name__ == "__main__":
    main()
