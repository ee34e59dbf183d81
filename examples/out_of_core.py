"""Pool and unpool a picture that is larger than the memory, from Zarr to Zarr, with Dask.

    pip install ".[dask]" zarr matplotlib && python examples/out_of_core.py

The picture is one plane of 16384 x 16384 cells in float32, 1 GiB.  The program lowers its own limit of memory to
256 MiB beyond what its imports take, which Linux enforces: a step that held the whole plane would fail.  Dask reads,
computes and writes a chunk at a time on each of its threads.

With `index_format="window"` an index is one byte, and the same in a chunk as in the whole plane.  The figure shows the
picture, pooled and restored: a quarter of its cells, each in its place.

The same lines run on several machines: connect a `distributed.Client` first, and write to a folder that all of them
share.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.diagnostics import ProgressBar

import unpool

if TYPE_CHECKING:  # all but the figure needs Dask and Zarr alone
    from matplotlib.figure import Figure

# --- the picture ------------------------------------------------------------------------------------------------------


def agate(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the brightness of a slice of agate, from 0 to 255; (H, 1) rows and (1, W) columns give (H, W)."""
    bands = np.sin(row / 1900 + 2 * np.sin(column / 1300)) + np.sin(column / 2300 + 2 * np.sin(row / 1700))
    crystals = np.cos(row / 5 + 3 * np.sin(column / 61)) * np.cos(column / 5 + 3 * np.sin(row / 53))
    return np.rint(127.5 + 63 * np.cos(8 * bands) + 63 * crystals)


def write_picture(path: Path, size: int, chunk: int) -> None:
    """Write the picture, a chunk at a time, as one sample of one channel: (1, 1, H, W)."""
    along = da.arange(size, chunks=chunk, dtype="float32")
    picture = da.map_blocks(agate, along[:, None], along[None, :], dtype="float32")
    picture[None, None].to_zarr(str(path))


# --- pooling and unpooling --------------------------------------------------------------------------------------------


def write_round_trip(folder: Path, **window: Any) -> None:
    """Pool the picture and unpool it again; write the pooled values, their indices and the restored picture."""
    x = da.from_zarr(str(folder / "input.zarr"))
    values, indices = unpool.max_pool2d(x, **window, return_indices=True, index_format="window")
    restored = unpool.max_unpool2d(values, indices, **window, output_size=x.shape, index_format="window")
    results = {"values": values, "indices": indices, "restored": restored}
    stores = [array.to_zarr(str(folder / f"{name}.zarr"), compute=False) for name, array in results.items()]
    dask.compute(*stores)  # at once, so that each chunk is read and pooled once


# --- memory -----------------------------------------------------------------------------------------------------------


@contextmanager
def limited(mebibytes: int) -> Iterator[None]:
    """Have Linux refuse this process more than so many MiB, on top of what its imports take; print its peak."""
    if sys.platform != "linux":
        yield
        return
    import resource

    threading.stack_size(1 << 20)  # the limit counts the stack of a thread in full, 8 MiB by default
    taken = int(re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (taken + (mebibytes << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"at most {peak} MiB of memory were in use, imports included")


# --- the figure -------------------------------------------------------------------------------------------------------


def draw(folder: Path, shown: int = 128, near: int = 32) -> Figure:
    """Draw the whole planes, as means of their cells in a scale of their own, above the cells of a corner."""
    from matplotlib.figure import Figure

    titles = {"Input": "input", "Pooled": "values", "Restored": "restored"}
    planes = {title: da.from_zarr(str(folder / f"{name}.zarr"))[0, 0] for title, name in titles.items()}
    figure = Figure(figsize=(7.2, 5.2), dpi=100, layout="constrained")
    for above, below, (title, plane) in zip(*figure.subplots(2, 3), planes.items(), strict=True):
        size = len(plane)
        corner = near * size // len(planes["Input"])
        factor = max(1, size // shown)
        means = da.coarsen(np.mean, plane, {0: factor, 1: factor}, trim_excess=True)
        above.imshow(means.compute(), cmap="magma")
        above.set_title(f"{title}, {size} x {size}", size="medium")
        below.imshow(plane[:corner, :corner].compute(), cmap="magma", vmin=0, vmax=255)
        below.set_title(f"its first {corner} x {corner}", size="small", color="#666666")
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Pool and unpool a picture that is larger than the memory.")
    parser.add_argument("--size", type=int, default=16384, help="the rows and the columns of the picture")
    parser.add_argument("--chunk", type=int, default=1024, help="those of a chunk, an even number")
    parser.add_argument("--threads", type=int, default=4, help="the chunks that are computed at once")
    parser.add_argument("--memory", type=int, default=256, help="the limit, in MiB beyond what the imports take")
    parser.add_argument("--quick", action="store_true", help="a picture of 144 MiB, in 128 MiB of memory")
    parser.add_argument("--folder", type=Path, help="keep the stores there, instead of deleting them")
    parser.add_argument("--out", type=Path, default="out_of_core.png", help="the figure, a PNG")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.chunk, arguments.threads, arguments.memory = 6144, 512, 2, 128

    with TemporaryDirectory() as temporary, dask.config.set(num_workers=arguments.threads):
        folder = arguments.folder or Path(temporary)
        with limited(arguments.memory), ProgressBar():
            print(f"write a picture of {arguments.size**2 * 4 >> 20} MiB in {arguments.memory} MiB")
            write_picture(folder / "input.zarr", arguments.size, arguments.chunk)
            print("pool it, and unpool it again")
            write_round_trip(folder, kernel_size=2)
        draw(folder).savefig(arguments.out, pil_kwargs={"optimize": True})
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
