"""The suite of `unpool.testing` finds the bugs of a stranger's backend, by name, and runs without this checkout.

tests/support/flawed.py has the backend and its five bugs.
"""

import re
import shutil
from collections import defaultdict
from pathlib import Path

import flawed
import pytest
from processes import python
from tree import ROOT

pytestmark = pytest.mark.once
# The test that must fail for each kind of arrays, and no other one of these.
FOUND_BY = {
    "BoundsArrays": "test_a_bad_index_is_reported_and_not_followed",
    "FirstArrays": "test_the_three_modes",
    "NaNArrays": "test_nan_wins_and_otherwise_the_first_of_equals",
    "OrderArrays": "test_output_size_in_every_length",
    "BeforeArrays": "test_a_bad_index_goes_before_a_repeated_one",
}
TESTS = set(FOUND_BY.values())
# The files that have them, because collecting all files for seven kinds of arrays takes longest.
FILES = [f"unpool.testing.contract.test_{name}" for name in ("indices", "pooling", "unpooling", "vectors")]


def install(folder, name):
    """Write the metadata of a package as an installer would."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unpool.backends]\n{name} = {name}:BACKEND\n")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Install the backend as a stranger would, in a folder of its own."""
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copy(flawed.__file__, folder)
    install(folder, "flawed")
    return folder


@pytest.fixture(scope="module")
def outcomes(stranger):
    """Return the names of the tests that passed, and of those that failed, for each kind of arrays."""
    kinds = ",".join(f"flawed:{kind}" for kind in ("SoundArrays", *FOUND_BY, "FlawedArrays"))
    suite = "-p", "unpool.testing.plugin", "--pyargs", *FILES, "--arrays", kinds
    options = "-v", "--tb=no", "-p", "no:cacheprovider", "-k", " or ".join([*TESTS, "test_vector"])
    ran = python("-m", "pytest", *suite, *options, first=stranger, cwd=stranger)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    found = defaultdict(lambda: defaultdict(set))
    for test, kind, outcome in re.findall(r"::(test_\w+)\[flawed:(\w+).*\] (PASSED|FAILED)", ran.stdout):
        found[kind][outcome].add(test)
    return found


def test_a_right_backend_passes(outcomes):
    assert outcomes["SoundArrays"]["PASSED"] == {*TESTS, "test_vector"}
    assert not outcomes["SoundArrays"]["FAILED"]


@pytest.mark.parametrize("kind", FOUND_BY)
def test_a_bug_is_found_by_name(outcomes, kind):
    assert outcomes[kind]["FAILED"] & TESTS == {FOUND_BY[kind]}
    assert outcomes[kind]["PASSED"] >= TESTS - {FOUND_BY[kind]}


def test_five_bugs_are_found_at_once(outcomes):
    assert outcomes["FlawedArrays"]["FAILED"] >= TESTS


def test_the_backend_of_the_documentation_passes_what_it_promises(tmp_path):
    """It takes planes of one dimension, with the channels first."""
    page = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[:2]
    assert ["BACKEND" in block for block in blocks] == [True, False]
    install(tmp_path, "documented")
    (tmp_path / "documented.py").write_text("\n".join(blocks))
    suite = "-p", "unpool.testing.plugin", "--pyargs", "unpool.testing.contract.test_vectors"
    options = "-p", "no:cacheprovider", "-k", "row and plane", "--arrays", "documented:ListArrays"
    ran = python("-m", "pytest", *suite, *options, first=tmp_path, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"(1\d|2\d) passed", ran.stdout)


def test_the_backend_is_small():
    """The part without the kinds of arrays has about a hundred lines of code."""
    source = Path(flawed.__file__).read_text(encoding="utf-8").partition("class SoundArrays")[0]
    assert len([line for line in source.splitlines() if line.strip()]) < 125
