"""The benchmark reports how far times spread, and what makes them untrue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unpool.bench import noise
from unpool.bench.cases import Case
from unpool.bench.measure import add_round, summary, time_call
from unpool.bench.noise import Used, state, used
from unpool.bench.peers import Peer
from unpool.bench.report import conclude, spreads, start, table

QUIET = {"load_average": 0.0, "governors": ["performance"]}
STAT = "cpu  100 20 30 4000 500 6 7 800 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"


def report_of(*times: tuple[float, float, float]) -> dict[str, Any]:
    """Return a report on a quiet machine, with a round for each first quartile, median and third quartile."""
    report = start([Case("pool k2", "pool")], threads=1)
    report["machine"] |= QUIET
    report["columns"] = ["unpool"]
    report["processes"] = [{"peer": "unpool", "elapsed": 10.0, "others": 0.1, "stolen": 0.1} for _ in times]
    report["rounds"] = [
        [{"peer": "unpool", "case": "pool k2", "column": "unpool", "milliseconds": time, "quartiles": [first, third]}]
        for first, time, third in times
    ]
    conclude(report)
    return report


def test_quartiles_of_times() -> None:
    found = summary([0.005, 0.001, 0.002, 0.004, 0.003])
    assert found == {"milliseconds": 3.0, "fastest": 1.0, "quartiles": [2.0, 4.0]}
    two = summary([0.001, 0.002])
    assert two["quartiles"] == pytest.approx([1.25, 1.75])


def test_quartiles_of_a_call() -> None:
    found = time_call(lambda: sum(range(10_000)), seconds=0.02)
    first, third = found["quartiles"]
    assert 0 < found["fastest"] <= first <= found["milliseconds"] <= third


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([(9.0, 10.0, 12.0)], 0.15),  # half of 3, of 10
        ([(9.5, 10.0, 10.5), (19.0, 20.0, 21.0), (9.8, 10.0, 10.1)], 0.575),  # half of 21 - 9.5, of 10
        ([(2.0, 2.0, 2.0)], 0.0),
    ],
)
def test_the_spread_covers_the_quartiles_of_every_round(
    times: list[tuple[float, float, float]], expected: float
) -> None:
    report = report_of(*times)
    assert spreads(report) == {"pool k2": {"unpool": pytest.approx(expected)}}
    assert report["figures"]["pool k2"]["unpool"]["spread"] == pytest.approx(expected)
    assert f"±{expected:.0%} |" in table(report)


def test_a_quiet_machine_has_no_warning() -> None:
    report = report_of((9.8, 10.0, 10.4))
    assert report["warnings"] == []
    assert "Not quiet" not in table(report)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {
                "processes": [
                    {"elapsed": 10.0, "others": 0.1, "stolen": 0},
                    {"elapsed": 5.0, "others": 2.5, "stolen": 0},
                ]
            },
            "other programs kept up to 0.5 cores busy meanwhile: end them, and measure again",
        ),
        (
            {"processes": [{"elapsed": 10.0, "others": 0.0, "stolen": 3.0}]},
            "the host of this virtual machine took up to 0.3 cores: measure again later",
        ),
        (
            {"machine": QUIET | {"load_average": 1.72}},
            "the load average was 1.7 at the start: wait until it is below 0.5",
        ),
        (
            {"machine": QUIET | {"governors": ["performance", "powersave"]}},
            'the CPU\'s frequency follows its load (powersave): set the governor "performance"',
        ),
    ],
)
def test_noise_is_told(changes: dict[str, Any], expected: str) -> None:
    report = report_of((9.8, 10.0, 10.4))
    report |= changes | {"machine": report["machine"] | changes.get("machine", {})}
    conclude(report)
    assert report["warnings"] == [f"Not quiet: {expected}."]
    assert table(report).endswith(f"\nNot quiet: {expected}.")


def test_times_that_spread_are_told() -> None:
    report = report_of((9.0, 10.0, 11.5))
    assert report["warnings"] == [
        "Not quiet: 1 of 1 times spread by over 10%, most of all pool k2 of unpool (±12%): measure again."
    ]


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the ticks of a clock are those of Unix")
def test_what_others_used(tmp_path: Path) -> None:
    """`proc(5)`: user, nice, system, idle, iowait, irq, softirq, steal, in ticks of the clock."""
    (tmp_path / "stat").write_text(STAT)
    tick, ours = 1 / os.sysconf("SC_CLK_TCK"), os.times()
    found = used(tmp_path / "stat")
    assert found.stolen == pytest.approx(800 * tick)
    children = ours.children_user + ours.children_system
    assert found.others == pytest.approx((100 + 20 + 30 + 6 + 7) * tick - children)
    nothing = used(tmp_path / "missing")
    assert (nothing.others, nothing.stolen) == (0, 0)
    assert Used(5.0, 3.0, 1.0) - Used(2.0, 1.0, 1.0) == (3.0, 2.0, 0.0)


def test_the_state_of_a_machine(tmp_path: Path) -> None:
    for number, governor in enumerate(("powersave", "performance", "powersave")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    found = state(tmp_path)
    assert found["governors"] == ["performance", "powersave"]
    assert found["load_average"] >= 0
    assert state(tmp_path / "missing")["governors"] == []


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="what others use is read from /proc/stat")
def test_a_program_that_runs_meanwhile_is_noticed() -> None:
    """The other program is no child that the benchmark has waited for, and so counts as one of others."""
    report = start([], threads=1)
    sleeping = Peer(("numpy",), "numpy", ("Sleeping",), "import time; time.sleep(1)")
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        add_round(report, {"sleeping": sleeping}, seconds=0)
    finally:
        loop.kill()
        loop.wait()
    [process] = report["processes"]
    assert process["peer"] == "sleeping"
    assert process["others"] / process["elapsed"] > noise.CORES
    assert report["warnings"][0].startswith("Not quiet: other programs kept up to ")
