"""The noise of a benchmark: other programs, a virtual machine's host, the CPU's frequency, the spread of times.

A report calls `state` once, before the first call of a peer, and `used` before and after each process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# A report warns above these limits.
CORES = 0.1  # kept busy by other programs, or taken by the host
LOAD = 0.5  # load average, which is still high for some minutes after a program has ended
SPREAD = 0.1  # of a figure
STEADY = "performance"  # the frequency governor that does not follow the load


class Used(NamedTuple):
    """Seconds since a fixed time.  Where there is no /proc/stat, `others` and `stolen` stay 0."""

    elapsed: float
    others: float  # CPU time of programs that this process has not started
    stolen: float  # CPU time that the host of a virtual machine gave to others

    def __sub__(self, before: Used) -> Used:
        return Used(*(now - then for now, then in zip(self, before, strict=True)))


def used(file: Path = Path("/proc/stat")) -> Used:
    """Return the counters of this moment."""
    ours = os.times()
    try:
        ticks = [int(text) for text in file.read_text().split(maxsplit=9)[1:9]]
    except OSError:
        return Used(ours.elapsed, 0.0, 0.0)
    *_, idle, waiting, _, _, stolen = ticks
    seconds = 1 / os.sysconf("SC_CLK_TCK")
    busy = (sum(ticks) - idle - waiting - stolen) * seconds
    return Used(ours.elapsed, busy - ours.children_user - ours.children_system, stolen * seconds)


def state(folder: Path = Path("/sys/devices/system/cpu")) -> dict[str, Any]:
    """Return the load average of the last minute and the CPU's frequency governors, where they can be read."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    governors = {file.read_text().strip() for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return {"load_average": load, "governors": sorted(governors)}


def warnings(report: Mapping[str, Any], spreads: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line for each reason not to trust the times of a report."""
    found = []
    busy, stolen = (
        max((process[name] / process["elapsed"] for process in report["processes"] if process["elapsed"]), default=0.0)
        for name in ("others", "stolen")
    )
    if busy > CORES:
        found.append(f"other programs kept up to {busy:.1f} cores busy meanwhile: end them, and measure again")
    if stolen > CORES:
        found.append(f"the host of this virtual machine took up to {stolen:.1f} cores: measure again later")
    machine = report["machine"]
    if machine["load_average"] > LOAD:
        found.append(f"the load average was {machine['load_average']:.1f} at the start: wait until it is below {LOAD}")
    if others := [name for name in machine["governors"] if name != STEADY]:
        found.append(f'the CPU\'s frequency follows its load ({", ".join(others)}): set the governor "{STEADY}"')
    every = [(spread, case, column) for case, row in spreads.items() for column, spread in row.items()]
    if wide := [one for one in every if one[0] > SPREAD]:
        spread, case, column = max(wide)
        found.append(
            f"{len(wide)} of {len(every)} times spread by over {SPREAD:.0%}, most of all {case} of {column} "
            f"(±{spread:.0%}): measure again"
        )
    return [f"Not quiet: {reason}." for reason in found]
