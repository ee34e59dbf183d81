"""Export a PyTorch model with max unpooling to ONNX and to LiteRT (TensorFlow Lite), and compare all bits.

    pip install ".[onnx]" onnxruntime litert-torch ai-edge-litert matplotlib && python examples/round_trip.py

The model finds edges in a photograph, in four directions.  It pools them twice with indices and unpools them twice, so
that the largest edge of each 4 x 4 pixels stays in its place, and draws a dot there.
It is exported three times: to ONNX with the operators `MaxPool` and `MaxUnpool`, to ONNX in the portable form, which
has neither, and to LiteRT.  ONNX Runtime and LiteRT read the files and compute the picture again.

Runtimes add in another order than PyTorch.  Rounding would differ in the last bit of some cells, with any layer.  Here
the weights are small integers, so all sums are exact, and one wrong index or value shows.

The photograph is Matplotlib's sample of Grace Hopper.  It takes 16 seconds.  `docs/export.md` lists what else runs.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib import cbook, colormaps
from matplotlib.figure import Figure
from matplotlib.image import imread

import unpool.torch

EDGE = torch.outer(torch.tensor([1.0, 2, 3, 2, 1]), torch.tensor([-1.0, -2, 0, 2, 1]))
DOT = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1]))


class Model(torch.nn.Module):
    """Take grey pictures (N, 1, H, W) and return drawings of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.find = torch.nn.Conv2d(1, 4, 5, padding=2, bias=False)
        self.find.weight.data[:, 0] = torch.stack([EDGE.rot90(turns) for turns in range(4)])
        self.pool = unpool.torch.MaxPool2d(2, return_indices=True, index_format="window")
        self.unpool = unpool.torch.MaxUnpool2d(2, index_format="window")
        self.draw = torch.nn.Conv2d(4, 1, 3, padding=1, bias=False)
        self.draw.weight.data[:] = DOT

    def forward(self, x):
        edges = self.find(x).relu()
        half, indices = self.pool(edges)
        quarter, deeper = self.pool(half)
        half = self.unpool(quarter, deeper, output_size=half.shape)
        return self.draw(self.unpool(half, indices, output_size=edges.shape))


# --- the runtimes: each writes a file, and computes from that file alone ----------------------------------------------


def onnx_runtime(form: str, model: Model, x: torch.Tensor, folder: str) -> np.ndarray:
    import onnxruntime

    table = unpool.torch.onnx_translations(form=form)
    torch.onnx.export(model, (x,), f"{folder}/{form}.onnx", custom_translation_table=table, verbose=False)
    session = onnxruntime.InferenceSession(f"{folder}/{form}.onnx")
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def litert(model: Model, x: torch.Tensor, folder: str) -> np.ndarray:
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    program = torch.export.export(model, (x,)).run_decompositions(unpool.torch.decompositions())
    litert_torch.convert(program.module(), (x,)).export(f"{folder}/model.tflite")
    interpreter = Interpreter(f"{folder}/model.tflite")
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


RUNTIMES = {
    "ONNX, MaxUnpool": partial(onnx_runtime, "max_unpool"),
    "ONNX, portable": partial(onnx_runtime, "portable"),
    "LiteRT": litert,
}


def cells_that_differ(result: np.ndarray, expected: np.ndarray) -> str:
    """Return how many cells of a result have other bits than expected, in words."""
    different = (result.view("int32") != expected.view("int32")).sum()
    return f"{different:,} of {expected.size:,} cells differ"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Export a model three times, run each file, and compare and draw the results, in 16 seconds."
    )
    parser.add_argument("--out", type=Path, default="round_trip.png", help="the picture, a PNG")
    parser.add_argument("--quick", action="store_true", help="a part of the photograph, 65 x 49 pixels")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the conversions if the file cannot be written

    colours = imread(cbook.get_sample_data("grace_hopper.jpg"))
    photograph = colours.mean(2).round()[20:319, 140:379]
    if arguments.quick:
        photograph = photograph[100:165, 90:139]
    x = torch.tensor(photograph[None, None], dtype=torch.float32)
    model = Model().eval()
    with torch.no_grad():
        expected = model(x).numpy()
    results, captions = {"PyTorch, eager": expected}, {}
    with TemporaryDirectory() as folder:
        for name, run in RUNTIMES.items():
            results[name] = run(model, x, folder)
            captions[name] = cells_that_differ(results[name], expected)
    for name, caption in captions.items():
        print(f"{name}: {caption}")
    draw(photograph, results, captions).savefig(arguments.out, pil_kwargs={"optimize": True})
    print(f"wrote {arguments.out}")


# --- the picture ------------------------------------------------------------------------------------------------------

INK, GREY = "#1a1a1a", "#666666"
DARKEST = 12000  # an edge that is drawn black
DPI, WIDE, TALL, GAP, MARGIN, TOP = 100, 239, 299, 24, 34, 132  # pixels


def draw(photograph: np.ndarray, results: dict[str, np.ndarray], captions: dict[str, str]) -> Figure:
    """Draw the photograph, the eager result, and that of each runtime with its caption."""
    planes = {"Photograph": photograph} | {name: result[0, 0] for name, result in results.items()}
    size = f"{photograph.shape[0]} x {photograph.shape[1]} pixels"
    captions = {"Photograph": size, "PyTorch, eager": "edges, pooled and unpooled twice"} | captions
    width, height = 2 * MARGIN + len(planes) * (WIDE + GAP) - GAP, TOP + TALL + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, size: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=size, color=colour, weight=weight, va="top")

    write(MARGIN, 24, "A PyTorch model with max unpooling, and its exports: the same bits", 17, INK)
    for column, (name, plane) in enumerate(planes.items()):
        left = MARGIN + column * (WIDE + GAP)
        write(left, TOP - 50, name, 12, INK)
        write(left, TOP - 28, captions[name], 10, GREY, "normal")
        axes = figure.add_axes((left / width, MARGIN / height, WIDE / width, TALL / height))
        name, vmax = ("gray", 255) if column == 0 else ("gray_r", DARKEST)
        few = colormaps[name].resampled(16)  # for a smaller file
        axes.imshow(plane, vmin=0, vmax=vmax, cmap=few, interpolation="nearest")
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main()
