"""The report of a benchmark, which a JSON file can hold: its medians and their spread, and its table in Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from unpool.bench.cases import Case
from unpool.bench.noise import state, warnings

Report: TypeAlias = "dict[str, Any]"  # the content of a JSON file: dicts, lists, strings and numbers


def start(cases: Collection[Case], threads: int) -> Report:
    """Return a report without runs."""
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"architecture": platform.machine(), "processor": model, "cores": usable_cores()} | state(),
        "system": platform.platform(),
        "threads": threads,
        "versions": {"Python": platform.python_version()},
        "missing": {},
        "columns": [],
        "cases": [asdict(case) for case in cases],
        "rounds": [],
        "processes": [],  # for each one, its peer and what `noise.used` counted meanwhile
        "figures": {},  # `conclude` writes these two
        "warnings": [],
    }


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def conclude(report: Report) -> None:
    """Write the figures of the rounds so far into a report, and the reasons not to trust them."""
    times, wide = medians(report), spreads(report)
    report["figures"] = {
        case: {name: {"milliseconds": median, "spread": wide[case].get(name)} for name, median in row.items()}
        for case, row in times.items()
    }
    report["warnings"] = warnings(report, wide)


def medians(report: Report) -> dict[str, dict[str, float]]:
    """Return milliseconds by case and column, the medians over the rounds."""
    return {
        case: {name: statistics.median(times) for name, times in row.items()}
        for case, row in _answers(report, "milliseconds").items()
    }


def spreads(report: Report) -> dict[str, dict[str, float]]:
    """Return the spread by case and column, a share of the median.

        spread = (highest third quartile - lowest first quartile) / (2 median)

    The quartiles are those of each round, so the spread covers what differs between processes, too.
    """
    middle = medians(report)
    found: dict[str, dict[str, float]] = {}
    for case, row in _answers(report, "quartiles").items():
        found[case] = {}
        for name, quartiles in row.items():
            firsts, thirds = zip(*quartiles, strict=True)
            found[case][name] = (max(thirds) - min(firsts)) / (2 * middle[case][name])
    return found


def _answers(report: Report, entry: str) -> dict[str, dict[str, list[Any]]]:
    """Return an entry of the answers of all rounds, by case and column."""
    found: dict[str, dict[str, list[Any]]] = {case["name"]: {} for case in report["cases"]}
    for answers in report["rounds"]:
        for answer in answers:
            if entry in answer:
                found[answer["case"]].setdefault(answer["column"], []).append(answer[entry])
    return found


def table(report: Report, **more: Mapping[str, str]) -> str:
    """Return the report in Markdown, with one more column for each mapping from case names to text."""
    lacks = {
        (answer["case"], answer["column"]): answer["lacks"]
        for answers in report["rounds"]
        for answer in answers
        if "lacks" in answer
    }
    rows, wide = [["case", *report["columns"], *more]], spreads(report)
    for case, times in medians(report).items():
        ours = times.get("unpool")
        cells = []
        for column in report["columns"]:
            cell = _digits(times[column]) if column in times else "-"
            cell += f" ±{wide[case][column]:.0%}" if column in wide[case] else ""
            if column in times and ours and column != "unpool":
                cell += f" ({_digits(times[column] / ours)}x)"
            cells.append(cell + "*" * ((case, column) in lacks))
        rows.append([case, *cells, *(column.get(case, "-") for column in more.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]

    machine, versions = report["machine"], report["versions"]
    rounds = len(report["rounds"])
    head = (
        f"{report['date'][:10]}, {machine['processor'] or machine['architecture']}, {machine['cores']} cores, "
        f"{report['threads']} threads{report.get('load', '')}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.\n"
        f"Milliseconds, medians of {rounds} process{'es' * (rounds > 1)}, ± half the distance of their quartiles; "
        "in parentheses, times as long as unpool."
    )
    foot = [f"\\* {column} has no {what}." for column, what in sorted({(c, what) for (_, c), what in lacks.items()})]
    foot += sorted(
        {
            f"{answer.get('column') or answer['peer']}, {answer['case'] or 'all cases'}: {answer['problem']}"
            for answers in report["rounds"]
            for answer in answers
            if "problem" in answer
        }
    )
    foot += report["warnings"]
    foot += [f"{name} is not installed: pip install {install}" for name, install in report["missing"].items()]
    return "\n".join([head, "", *lines, *[""] * bool(foot), *foot])


def _digits(number: float) -> str:
    """Return a number with three significant digits."""
    return f"{number:.0f}" if number >= 100 else f"{number:#.3g}"
