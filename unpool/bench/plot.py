"""Draw the ratios: a bar to the right of 1 is a peer slower than unpool, a bar to the left a faster one."""

from __future__ import annotations

import io
import sys
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from unpool.bench.report import Report, medians

# Okabe and Ito's colours, distinct for colour-blind readers.
COLOURS = {
    "PyTorch": "#d55e00",
    "ONNX Runtime": "#0072b2",
    "TensorFlow": "#e69f00",
    "TensorFlow XLA": "#cc79a7",
    "NumPy": "#999999",
}
BAR, GAP = 0.17, 0.13  # inches
FAR = 64  # longer bars are cut; their label has the ratio


def draw(report: Report, form: str) -> bytes:
    """Return the bytes of a picture file of a report, in the format `form`."""
    times = {case: row for case, row in medians(report).items() if "unpool" in row and len(row) > 1}
    if not times:
        sys.exit("nothing is drawn: no peer was measured beside unpool")
    peers = [column for column in report["columns"] if column != "unpool"]
    bars, labels, lines, y = [], [], [], 0.0
    for case, row in times.items():
        top = y
        for peer in peers:
            if peer in row:
                bars.append((y + BAR / 2, row[peer] / row["unpool"], COLOURS[peer]))
                y += BAR
        labels.append(((top + y) / 2, f"{case}   {_time(row['unpool'])}"))
        lines.append(y + GAP / 2)
        y += GAP

    above, below = 1.15, 0.55
    height = y + above + below
    figure = Figure(figsize=(11, height), dpi=120, facecolor="white")
    axes = figure.add_axes((0.36, below / height, 0.61, y / height))
    low = min(0.5, *(max(ratio, 1 / FAR) / 1.6 for _, ratio, _ in bars))
    high = max(2.0, *(min(ratio, FAR) * 1.6 for _, ratio, _ in bars))
    axes.set(xscale="log", xlim=(low, high), ylim=(y - GAP / 2, -GAP / 2))
    axes.axvspan(low, 1, color="#f3e3e3", linewidth=0)
    axes.hlines(lines[:-1], low, high, color="#dddddd", linewidth=0.6)
    for middle, ratio, colour in bars:
        end = min(max(ratio, 1 / FAR), FAR)
        axes.barh(middle, end - 1, BAR * 0.9, left=1, color=colour)
        right = ratio >= 1
        axes.annotate(
            f"{ratio:#.2g}x" if ratio < 10 else f"{ratio:.0f}x",
            (end, middle),
            (3 if right else -3, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            size=7.5,
        )
    axes.axvline(1, color="black", linewidth=1.2)
    axes.set_yticks([middle for middle, _ in labels], [text for _, text in labels], size=9)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=99))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x" if ratio >= 1 else f"1/{1 / ratio:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, 1 - inches / height, text, va="top", **style)

    machine = report["machine"]
    write(0.02, 0.14, "How many times as long as unpool", size=15, weight="bold")
    write(
        0.02,
        0.48,
        f"{machine['processor'] or machine['architecture']}, {report['threads']} threads{report.get('load', '')}, "
        f"{report['date'][:10]}; beside each case, unpool's time",
        size=9,
        color="#555555",
    )
    one = 0.36 + 0.61 * float(axes.transLimits.transform(axes.transScale.transform((1, 0)))[0])
    write(one + 0.008, 0.92, "unpool is faster →", size=9, weight="bold")
    write(one - 0.008, 0.92, "← the peer is faster", size=9, weight="bold", color="#a03030", ha="right")
    used = [peer for peer in peers if any(peer in row for row in times.values())]
    figure.legend(
        handles=[Patch(color=COLOURS[peer], label=peer) for peer in used],
        loc="upper right",
        bbox_to_anchor=(0.98, 1 - 0.1 / height),
        ncols=len(used),
        frameon=False,
        fontsize=9,
        handlelength=1,
        columnspacing=1.2,
    )
    picture = io.BytesIO()
    figure.savefig(picture, format=form)
    return picture.getvalue()


def _time(milliseconds: float) -> str:
    return f"{milliseconds * 1e3:.3g} µs" if milliseconds < 0.1 else f"{milliseconds:.3g} ms"
