"""Draw how fast each version is, from the reports in `benchmarks/history/`.

    python benchmarks/run.py --quick --peers torch --json benchmarks/history/0.2.0.json      keep a version
    python benchmarks/history.py                                                             draw all of them

A file has the name of the version that it measured.  `.dev` and a label may follow: such a version comes before its
release, and versions with labels come in the order of their dates.  `docs/history.png` and the tables in
`docs/performance.md` are written.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from run import saved

from unpool.__main__ import as_program, drawing
from unpool.bench.report import Report, medians, spreads

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "history"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "history.png"
BEGIN, END = "<!-- benchmarks/history.py writes from here -->", "<!-- to here -->"
COLOURS = {"unpool": "#0072b2", "PyTorch": "#d55e00"}  # Okabe and Ito's
COLUMNS, WIDTH, HEIGHT = 2, 4.2, 1.5  # of the picture's parts, in inches


class Version(NamedTuple):
    name: str
    report: Report
    times: dict[str, dict[str, float]]
    spreads: dict[str, dict[str, float]]

    @property
    def measured(self) -> str:
        return str(self.report["versions"]["unpool"])

    @property
    def machine(self) -> str:
        machine = self.report["machine"]
        return f"{machine['processor'] or machine['architecture']}, {self.report['threads']} threads"

    @property
    def order(self) -> tuple[Any, ...]:
        numbers = [int(number) for number in re.findall(r"\d+", self.measured)]
        return numbers, self.name == self.measured, self.report["date"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    versions = read(KEPT)
    if versions:
        with drawing("history.py"):
            picture(versions).savefig(PICTURE)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), versions), encoding="utf-8")
    print(f"drawn: {', '.join(version.name for version in versions) or 'nothing'}")


def read(folder: Path) -> list[Version]:
    """Return the versions of a folder, from the oldest to the newest."""
    versions = []
    for file in folder.glob("*.json"):
        try:
            report = saved(str(file))
        except argparse.ArgumentTypeError as error:
            sys.exit(f"{file.name} {error}: measure it again")
        version = Version(file.stem, report, medians(report), spreads(report))
        if version.name.partition(".dev")[0] != version.measured:
            sys.exit(f"{file.name} must have the name of the version that it measured, {version.measured}: rename it")
        versions.append(version)
    return sorted(versions, key=lambda version: version.order)


def cases(versions: list[Version]) -> list[str]:
    """Return the cases of the newest version."""
    return [case for case, row in versions[-1].times.items() if "unpool" in row]


# --- the page ---------------------------------------------------------------------------------------------------------


def with_tables(page: str, versions: list[Version]) -> str:
    """Return the page with the picture and the tables of these versions between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(versions)}\n\n{END}{rest.partition(END)[2]}"


def tables(versions: list[Version]) -> str:
    if not versions:
        return "No version was measured yet."
    runs = [["version", "date", "machine", "PyTorch", "notes"]]
    for version in versions:
        report = version.report
        torch, notes = report["versions"].get("torch", "-"), " ".join(report["warnings"]) or "-"
        runs.append([version.name, report["date"][:10], version.machine, torch, notes])
    times = [["case", *(version.name for version in versions)]]
    times += [[case, *(cell(version, case) for version in versions)] for case in cases(versions)]
    shown = "![The times of unpool and PyTorch: a part for each case, a point for each version](history.png)"
    return "\n\n".join([shown, markdown(runs), markdown(times)])


def cell(version: Version, case: str) -> str:
    """Return unpool's time with its spread, and PyTorch's as a multiple of it."""
    row = version.times.get(case, {})
    if "unpool" not in row:
        return "-"
    return f"{row['unpool']:#.3g} ±{version.spreads[case]['unpool']:.0%}" + (f" ({ratio(row)})" if ratio(row) else "")


def ratio(row: dict[str, float]) -> str:
    return f"{row['PyTorch'] / row['unpool']:.3g}x" if row.keys() >= COLOURS.keys() else ""


def markdown(rows: list[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *rest])


# --- the picture ------------------------------------------------------------------------------------------------------


def picture(versions: list[Version]) -> Any:
    """Return a figure with a part for each case: the times of unpool and PyTorch, their spread, and the ratio."""
    from matplotlib.figure import Figure

    names = cases(versions)
    count = -(-len(names) // COLUMNS)
    size = COLUMNS * WIDTH, count * HEIGHT + 0.5
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    parts = figure.subplots(count, COLUMNS, squeeze=False, sharex=True).ravel()
    for case, axes in zip(names, parts, strict=False):
        draw(axes, versions, case)
    for axes in parts[len(names) :]:
        axes.set_visible(False)
    for axes in parts[max(len(names) - COLUMNS, 0) : len(names)]:
        axes.tick_params(labelbottom=True)  # the part below may be missing
    handles, labels = parts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def draw(axes: Any, versions: list[Version], case: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for column, colour in COLOURS.items():
        label: str | None = column
        # Times of different machines are not compared, so no line leads from one to the other.
        for _, group in groupby(enumerate(versions), key=lambda entry: entry[1].machine):
            found = [(at, version) for at, version in group if column in version.times.get(case, {})]
            times = [version.times[case][column] for _, version in found]
            bars = [time * version.spreads[case][column] for time, (_, version) in zip(times, found, strict=True)]
            style = {"fmt": "o-", "markersize": 3.5, "capsize": 2, "color": colour, "label": label}
            axes.errorbar([at for at, _ in found], times, bars, **style)
            label = None
    for at, version in enumerate(versions):
        if text := ratio(row := version.times.get(case, {})):
            between = (row["unpool"] * row["PyTorch"]) ** 0.5
            axes.annotate(text, (at, between), (6, 0), textcoords="offset points", va="center", size=7.5)
    axes.set_title(case, size=8.5, loc="left", pad=3)
    axes.set(xlim=(-0.5, len(versions) - 0.25), yscale="log")
    axes.margins(y=0.2)
    axes.set_xticks(range(len(versions)), [version.name for version in versions], size=7.5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda time, _: f"{time:g} ms" if time > 0.05 else f"{time * 1e3:g} µs")
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    as_program(main)
