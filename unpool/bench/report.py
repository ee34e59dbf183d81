"""The report of a benchmark, which a JSON file can hold: its medians, and its table in Markdown."""

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

Report: TypeAlias = "dict[str, Any]"  # the content of a JSON file: dicts, lists, strings and numbers


def start(cases: Collection[Case], threads: int) -> Report:
    """Return a report without runs."""
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"architecture": platform.machine(), "processor": model, "cores": usable_cores()},
        "system": platform.platform(),
        "threads": threads,
        "versions": {"Python": platform.python_version()},
        "missing": {},
        "columns": [],
        "cases": [asdict(case) for case in cases],
        "rounds": [],
        "others": [],  # for each process: the CPU seconds of other programs meanwhile, and the seconds that it took
    }


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def medians(report: Report) -> dict[str, dict[str, float]]:
    """Return milliseconds by case and column, the medians over the rounds."""
    found: dict[str, dict[str, list[float]]] = {case["name"]: {} for case in report["cases"]}
    for answers in report["rounds"]:
        for answer in answers:
            if "milliseconds" in answer:
                found[answer["case"]].setdefault(answer["column"], []).append(answer["milliseconds"])
    return {case: {name: statistics.median(times) for name, times in row.items()} for case, row in found.items()}


def table(report: Report, **more: Mapping[str, str]) -> str:
    """Return the report in Markdown, with one more column for each mapping from case names to text."""
    lacks = {
        (answer["case"], answer["column"]): answer["lacks"]
        for answers in report["rounds"]
        for answer in answers
        if "lacks" in answer
    }
    rows = [["case", *report["columns"], *more]]
    for case, times in medians(report).items():
        ours = times.get("unpool")
        cells = []
        for column in report["columns"]:
            cell = _digits(times[column]) if column in times else "-"
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
        f"Milliseconds, medians of {rounds} process{'es' * (rounds > 1)}; in parentheses, times as long as unpool."
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
    cores = max((used / seconds for used, seconds in report["others"] if seconds), default=0.0)
    if cores > 0.1:
        foot.append(f"Not quiet: other programs kept up to {cores:.1f} cores busy meanwhile.")
    foot += [f"{name} is not installed: pip install {install}" for name, install in report["missing"].items()]
    return "\n".join([head, "", *lines, *[""] * bool(foot), *foot])


def _digits(number: float) -> str:
    """Return a number with three significant digits."""
    return f"{number:.0f}" if number >= 100 else f"{number:#.3g}"
