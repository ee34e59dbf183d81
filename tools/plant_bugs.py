"""Plant a bug in the kernels, build them, and see the fuzz catch it within a minute; one bug after the other.

    python tools/plant_bugs.py                    all of them, in about ten minutes on a core
    python tools/plant_bugs.py stream decode      these

It works in a temporary copy of the repository.  Each bug is in another file: a text that occurs once in it, and its
replacement.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from copies import build, copy_to, paths

KERNELS = "backends/unpool_backends/cpu"
SECONDS = 60
# In lost.pxi, of the loops that mark what later windows overwrite.
_REST_OF_LOOPS = """later.most[1] + 1):
            for w in range(-later.most[2] if d or h else 1, later.most[2] + 1):
                mark_pairs"""
# name: (what is wrong then, file, text, planted)
BUGS = {
    "scatter": (
        "the cell behind a block counts as one of its own",
        "scatter.pxi",
        "row * row_apart >= length:",
        "row * row_apart > length:",
    ),
    "gather": (
        "one cell past the plane is read",
        "gather.pxi",
        "if <uint64_t> cell >= cells:\n                return i\n",
        "if <uint64_t> cell > cells:\n                return i\n",
    ),
    "pooling": (
        "a row past the plane is compared",
        "pooling.pxi",
        "(job.cells_along[1] - 1 - y) // apart + 1)",
        "(job.cells_along[1] - y) // apart + 1)",
    ),
    "window": (
        "taps in the padding before the plane pass",
        "window.pxi",
        "if tap < along.first or tap >= along.end:",
        "if tap >= along.end:",
    ),
    "taps": (
        "taps in the padding of another depth pass",
        "taps.h",
        "inside &= (masks[i] & mask) >>",
        "inside &= masks[i] >>",
    ),
    "decode": (
        "a row of windows at the edge counts as a whole one",
        "decode.pxi",
        "count = min(count, decoder.high - row)",
        "count = min(count, decoder.high + 1 - row)",
    ),
    "cut": (
        "the last rows of windows are left out",
        "cut.pxi",
        "job.row_blocks = (job.windows_along[1] + job.rows - 1) // job.rows",
        "job.row_blocks = job.windows_along[1] // job.rows",
    ),
    "indices": (
        "an index one past the plane is not reported",
        "indices.pxi",
        ") >= <uint64_t> job.cells:\n                    return i * job.step + c",
        ") > <uint64_t> job.cells:\n                    return i * job.step + c",
    ),
    "lost": (
        "windows of another depth that lie above overwrite nothing",
        "lost.pxi",
        f"for h in range(-later.most[1] if d else 0, {_REST_OF_LOOPS}",
        f"for h in range(0, {_REST_OF_LOOPS}",
    ),
    "stream": (
        "runs of cells count as one although there is a gap between them",
        "stream.h",
        "if (stream->pending && stream->end == to) {",
        "if (stream->pending) {",
    ),
}


def main() -> None:
    if sys.platform != "linux":
        sys.exit("The guard pages of the fuzz are mapped on Linux only.")
    names = sys.argv[1:] or list(BUGS)
    if unknown := set(names) - set(BUGS):
        sys.exit(f"There is no bug {', '.join(sorted(unknown))}: choose from {', '.join(BUGS)}.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "unpool")
        copy_to(copy)
        build(copy)
        if (without := fuzz(copy, SECONDS // 4)).returncode:
            sys.exit(f"The fuzz fails without a planted bug.\n{without.stdout}{without.stderr}")
        seconds = {name: seconds_until_caught(copy, name) for name in names}
    if missed := [name for name in names if seconds[name] is None]:
        sys.exit(f"not caught within {SECONDS} seconds: {', '.join(missed)}")
    print(f"{len(names)} bugs, each caught within {max(filter(None, seconds.values())):.1f} s")


def seconds_until_caught(copy: Path, name: str) -> float | None:
    """Plant a bug, build the kernels, and return after how many seconds the fuzz fails, or None if it passes."""
    what, file, text, planted = BUGS[name]
    path = copy / KERNELS / file
    right = path.read_text()
    if right.count(text) != 1:
        sys.exit(f"The text of the bug {name} must occur once in {file}, not {right.count(text)} times.")
    path.write_text(right.replace(text, planted))
    build(copy)
    path.write_text(right)
    begin = time.monotonic()
    result = fuzz(copy, SECONDS)
    seconds = time.monotonic() - begin if result.returncode else None
    how = "MISSED" if seconds is None else f"caught in {seconds:.1f} s"
    print(f"{name}: {how} ({what}): {' '.join(result.stdout.strip().splitlines()[-1:])}", flush=True)
    return seconds


def fuzz(copy: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/fuzz", "--seconds", str(seconds)]
    return subprocess.run(command, cwd=copy, env=os.environ | paths(copy), check=False, capture_output=True, text=True)


if __name__ == "__main__":
    main()
