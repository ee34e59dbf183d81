"""Pool and unpool the planes of an `xarray.DataArray`, and give their coordinates back.

    pip install . xarray matplotlib && python examples/xarray_planes.py

`xarray.apply_ufunc` passes the array of a DataArray to unpool, with the dimensions "y" and "x" last.  One or two
dimensions must be before them: `expand_dims` adds one, and `stack` joins several.  Pooled planes have other sizes, so
their dimensions get other names, "y2" and "x2", and the coordinates of "y" and "x" are dropped.  Unpooled planes have
the old sizes, so these coordinates fit again.  The figure shows the maxima on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

import unpool

if TYPE_CHECKING:  # all but the figure needs xarray alone
    from matplotlib.figure import Figure

WINDOW = 8


def pooled(planes: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the largest value of each window and its index, (..., y2, x2)."""
    return xr.apply_ufunc(
        unpool.max_pool2d,
        planes,
        kwargs={"kernel_size": WINDOW, "return_indices": True},
        input_core_dims=[["y", "x"]],
        output_core_dims=[["y2", "x2"]] * 2,
        dask="allowed",
    )


def unpooled(values: xr.DataArray, indices: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Return planes with the sizes and coordinates of `like`: each value at its index, and zeros."""
    planes = xr.apply_ufunc(
        unpool.max_unpool2d,
        values,
        indices,
        kwargs={"kernel_size": WINDOW, "output_size": (like.sizes["y"], like.sizes["x"])},
        input_core_dims=[["y2", "x2"]] * 2,
        output_core_dims=[["y", "x"]],
        dask="allowed",
    )
    return planes.assign_coords(like.coords)


def field() -> xr.DataArray:
    """Return the rain on a grid of 500 m, (time, y, x): a shower that moves to the north-east."""
    hours, y, x = (xr.DataArray(np.arange(n), dims=d) for n, d in ((4, "time"), (61, "y"), (45, "x")))
    rain = 20 * np.exp(-((y - 10 - 13 * hours) ** 2 + (x - 5 - 9 * hours) ** 2) / 40)
    times = np.datetime64("2026-06-01T12", "h") + hours.data
    return rain.transpose("time", "y", "x").assign_coords(time=times.astype("datetime64[ns]"), y=y * 500, x=x * 500)


def draw(rain: xr.DataArray, peaks: xr.DataArray) -> Figure:
    """Draw a map of each hour: the rain, the maximum of each window where some falls, and the largest of all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.2), dpi=100, layout="constrained")
    maps = figure.subplots(1, rain.sizes["time"], sharey=True)
    for axes, plane, found in zip(maps, rain, peaks, strict=True):
        colours = axes.pcolormesh(plane.x / 1000, plane.y / 1000, plane, cmap="Blues", vmin=0, vmax=rain.max())
        row, column = np.nonzero(found.data >= 0.1)
        axes.scatter(found.x[column] / 1000, found.y[row] / 1000, 12, "#b4480f", linewidths=0)
        peak = found.isel(found.argmax(("y", "x")))
        axes.scatter(peak.x / 1000, peak.y / 1000, 120, "none", edgecolors="#b4480f", linewidths=2)
        axes.set(title=plane.time.dt.strftime("%H:%M").item(), xlabel="x (km)", aspect="equal")
    maps[0].set_ylabel("y (km)")
    figure.colorbar(colours, ax=maps, label="rain (mm/h)", shrink=0.8)
    title = f"Rain, and the maximum of each {WINDOW} x {WINDOW} cells, unpooled to its coordinates"
    figure.suptitle(title, weight="bold", x=0.02, ha="left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Pool the rain of four hours, and print and draw where it is heaviest."
    )
    parser.add_argument("--out", type=Path, default="xarray_planes.png", help="the figure, a PNG")
    arguments = parser.parse_args()

    rain = field()
    peaks = unpooled(*pooled(rain), like=rain)
    print(f"{np.count_nonzero(peaks)} of {peaks.size} values are the largest of a window. The largest of all, by time:")
    for plane in peaks:
        peak = plane.isel(plane.argmax(("y", "x")))
        time = peak.time.dt.strftime("%H:%M").item()
        print(f"{time}: {peak.item():.1f} mm/h at y = {peak.y.item()} m, x = {peak.x.item()} m")
    draw(rain, peaks).savefig(arguments.out, pil_kwargs={"optimize": True})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
