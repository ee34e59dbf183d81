"""Run the commands behind docs/reliability.md, keep what they print, and write the page's tables from it.

    python tools/reliability.py                      write the tables from docs/reliability.json
    python tools/reliability.py races faults         run these commands first, and keep their last lines
    python tools/reliability.py fuzz --output FILE   keep the last line of a run that was made elsewhere
    python tools/reliability.py fuzz --output FILE --date 2026-11-29 --on "x86-64, 2 cores"

A command that fails keeps nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
END = "<!-- to here -->"
HEAD = "| what | command | date, machine | result |\n|---|---|---|---|\n"
NOT_RUN = "not run yet"
# The name of each row: what it shows, and its command, which prints the result in its last line.
FIGURES = {
    "fuzz": ("10^9 indices of hostile arrays, guarded", "python tests/fuzz --indices 1e9 --large 0.3 --seed 2026"),
    "fuzz-small": ("odd small geometry, guarded", "python tests/fuzz --seconds 240 --seed 77 --large 0"),
    "races": ("arrays that change during calls", "python tests/cpu/races.py --seconds 60 --seed 1"),
    "faults": ("memory, threads, signals, forks, pools", "python -m pytest -q tests/cpu -k faults"),
    "memory": ("resident memory over 10^5 calls", "python -m pytest -q tests/cpu -k do_not_add_up"),
    "sanitize": ("kernels and allocator under AddressSanitizer and UBSan", "python -m tox -qq -e sanitize"),
    "tsan": ("the same under ThreadSanitizer, in concurrent calls", "python -m tox -qq -e tsan"),
    "arm64": ("the fuzz and the contract's indices on arm64, under qemu", "python -m tox -qq -e arm64"),
    "installs": ("wheel and sdist in empty environments, on each Python", "python tools/check_installs.py"),
    "planted": ("bugs planted in the kernels, found by the fuzz", "python tools/plant_bugs.py"),
}
# Libraries that the extras name, and NumPy: tests/core/test_reliability.py compares them with pyproject.toml.
LIBRARIES = (
    *("numpy", "torch", "jax", "tensorflow", "dask", "keras", "onnx", "onnxscript", "onnxruntime", "ml_dtypes"),
    *("matplotlib", "pytest", "hypothesis", "sybil", "threadpoolctl", "mypy"),
)
VERSIONS = {
    "py314": ("CPython 3.14", "python -m tox -qq -e py314"),
    "py315": ("CPython 3.15", "python -m tox -qq -e py315"),
    "py313t": ("CPython 3.13 without the GIL; the fuzz from 16 threads", "python -m tox -qq -e py313t"),
    **{library: (library, f"python tools/versions.py {library}") for library in LIBRARIES},
}
ROWS = FIGURES | VERSIONS
# Each table stands between its mark and END.
TABLES = {
    "<!-- tools/reliability.py writes from here -->": FIGURES,
    "<!-- tools/reliability.py writes versions from here -->": VERSIONS,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tools/reliability.py", description=str(__doc__).partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to run first: {', '.join(ROWS)}")
    parser.add_argument("--output", type=Path, help="what the command of the one row printed, in the place of a run")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    parser.add_argument("--on", default=f"{platform.machine()}, {os.cpu_count()} cores", help="the machine")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"rows must be of {', '.join(ROWS)}, got {', '.join(sorted(unknown))}: pass some of these")
    if options.output and len(options.rows) != 1:
        parser.error(f"--output is for one row, got {len(options.rows)}: name the row of that command")
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    for row in options.rows:
        text = options.output.read_text(encoding="utf-8") if options.output else output_of(ROWS[row][1])
        kept[row] = {"date": options.date, "machine": options.on, "result": last_line(text)}
        KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_page(kept)  # now, since a later command may fail
    write_page(kept)


def write_page(kept: dict[str, dict[str, str]]) -> None:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")


def output_of(command: str) -> str:
    """Run a command in the project's folder, with this Python, and return what it printed."""
    first, *rest = command.split()
    print(command, flush=True)
    run = subprocess.run(
        [sys.executable if first == "python" else first, *rest], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(
            f"{command} ended with {run.returncode}, and nothing is kept:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
        )
    return run.stdout


def last_line(text: str) -> str:
    lines = [line.strip("= ") for line in text.splitlines() if line.strip("= ")]
    if not lines:
        sys.exit("the command must print its result in its last line, got no line: pass its standard output")
    # The line of pytest that names the Python: rows of tox need it.
    python = re.search(r"^platform .* -- (Python [^,]+)", text, re.MULTILINE)
    return (f"{python[1]}: " if python else "") + lines[-1].replace("|", "/")


def table(rows: dict[str, tuple[str, str]], kept: dict[str, dict[str, str]]) -> str:
    """Return a table of all its rows, with those that have not run."""
    lines = []
    for row, (what, command) in rows.items():
        found = kept.get(row)
        when, result = (f"{found['date']}, {found['machine']}", found["result"]) if found else ("-", NOT_RUN)
        lines.append(f"| {what} | `{command}` | {when} | {result} |\n")
    return HEAD + "".join(lines)


def with_tables(page: str, kept: dict[str, dict[str, str]]) -> str:
    """Return the page with each table between its two marks."""
    for begin, rows in TABLES.items():
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(END)
        page = f"{before}{begin}\n\n{table(rows, kept)}\n{END}{after}"
    return page


if __name__ == "__main__":
    main()
