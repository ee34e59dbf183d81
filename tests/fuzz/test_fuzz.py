"""Random geometry and hostile indices against the CPU kernels, in guarded memory: `python tests/fuzz` does the work."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment, python

FUZZ = Path(__file__).parent
# The default run takes so many seconds, and `--fuzz-minutes` more.
SECONDS = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guard pages are mapped by Linux's mmap and mprotect")


def test_results_are_those_of_the_oracle(pytestconfig, capfd):
    minutes, seed = pytestconfig.getoption("--fuzz-minutes"), pytestconfig.getoption("--fuzz-seed")
    seconds = SECONDS if minutes is None else 60 * minutes
    command = [sys.executable, str(FUZZ), "--seconds", str(seconds), "--seed", str(seed)]
    with capfd.disabled():  # a long run tells each minute how far it is
        result = subprocess.run(command, env=environment(), check=False)
    assert result.returncode == 0, f"the lines before name the case of {' '.join(command)}"


def test_results_are_those_of_the_oracle_in_concurrent_calls():
    result = python(str(FUZZ), "--callers", "4", "--seconds", "2")
    assert result.returncode == 0, result.stdout + result.stderr


# What a kernel may do wrong, in Python; `array` has 12 bytes, and lies at an end of its room.
ACCESSES = {
    "read past the end": (True, "ctypes.string_at(array.ctypes.data + 12, 1)"),
    "read before the beginning": (False, "ctypes.string_at(array.ctypes.data - 1, 1)"),
    "write past the end": (True, "ctypes.memset(array.ctypes.data + 12, 0, 1)"),
    "write before the beginning": (False, "ctypes.memset(array.ctypes.data - 1, 0, 1)"),
    "write into an input": (True, "room.lock(); array[1] = 0"),
}
PROGRAM = """
import ctypes, sys
sys.path.insert(0, {folder!r})
from guarded import Room, c_library
room = Room(c_library())
array = room.place((3,), "int32", {at_end})
array[:] = 7
assert room.intact()
print("placed", flush=True)
{access}
print("survived")
"""


@pytest.mark.parametrize("name", ACCESSES)
def test_an_access_out_of_range_ends_the_process(name):
    at_end, access = ACCESSES[name]
    result = python("-c", PROGRAM.format(folder=str(FUZZ), at_end=at_end, access=access))
    assert result.stdout == "placed\n"
    assert result.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("access", ["array.ctypes.data - 1", "array.ctypes.data - 64"])
def test_a_write_on_the_other_side_is_found(access):
    text = f"ctypes.memset({access}, 0, 1)\nassert not room.intact()"
    result = python("-c", PROGRAM.format(folder=str(FUZZ), at_end=True, access=text))
    assert result.returncode == 0, result.stderr


def test_the_case_that_ended_the_process_is_named():
    result = python(str(FUZZ), "--seed", "4", "--case", "77", "--crash")
    assert result.returncode == 1
    assert result.stdout.startswith("case 77 ended it by SIGSEGV; run it alone: python tests/fuzz --seed 4 ")
    assert result.stdout.endswith(" --case 77\n")
