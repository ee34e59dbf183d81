"""A test run takes the arrays and the part of the cases that its options choose, and always the same ones."""

import pytest
from keeping import keep
from processes import python

from unpool.testing.thinning import thinned

pytestmark = pytest.mark.once
CASES = [("one", f"test_one[{number}]", 8) for number in range(800)]


def names(cases):
    return {name for (_, name, _), runs in zip(cases, thinned(cases), strict=True) if runs}


def test_about_one_case_in_several_runs():
    assert 60 <= len(names(CASES)) <= 140
    assert names([(group, name, 1) for group, name, _ in CASES]) == {name for _, name, _ in CASES}


def test_a_new_case_moves_no_other():
    new = [("one", "test_one[new]", 8), ("other", "test_other[new]", 8)]
    assert names(new + CASES) - {name for _, name, _ in new} == names(CASES)
    assert names(CASES[::-1]) == names(CASES)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_some_case_of_each_test_runs(count):
    cases = [(f"group {group}", f"test_{group}[{case}]", 10**6) for group in range(50) for case in range(count)]
    assert len(names(cases)) == 50


def listed(*arguments, first=None):
    """Collect the tests of a file of the contract in a process of its own."""
    options = "--collect-only", "-q", "-p", "no:cacheprovider", "--pyargs", "unpool.testing.contract.test_indices"
    return python("-m", "pytest", *options, *arguments, first=first)


def test_the_kinds_of_arrays_that_an_option_names():
    found = listed("--arrays", "cpu,unpool.testing:NumPyArrays", "--one-in", "100")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "[cpu-" in found.stdout
    assert "[unpool.testing:NumPyArrays-" in found.stdout
    assert len(found.stdout.splitlines()) < 100


@pytest.mark.parametrize("name", ["numpy", "kinds"])
def test_an_unknown_kind_of_arrays_is_refused(name):
    refused = listed("--arrays", name)
    assert refused.returncode == 4
    assert "`--arrays` must name cpu, cuda, tensorflow, tensorflow-function, " in refused.stderr
    assert f"or module:Class, got '{name}': pass one of these" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--arrays", "nowhere:Arrays"), "`--arrays` must name a class that can be imported, got 'nowhere:Arrays' ("),
        (("--arrays", "kinds:Nothing"), "`--arrays` must name a class that can be imported, got 'kinds:Nothing' ("),
        (("--arrays", "kinds:re"), "`--arrays` must name a kind of arrays, got 'kinds:re', which is <module 're' "),
        (("--one-in", "0"), "must be an integer from 1 on, got '0'"),
        (("--one-in", "some"), "must be an integer from 1 on, got 'some'"),
    ],
)
def test_other_options_that_are_refused(arguments, text):
    refused = listed(*arguments)
    assert refused.returncode == 4
    assert text in refused.stderr


def test_a_kind_whose_framework_is_missing_is_refused(tmp_path):
    (tmp_path / "gone.py").write_text(
        "from unpool.testing import Arrays\nclass GoneArrays(Arrays):\n    installed = classmethod(lambda cls: False)\n"
    )
    refused = listed("--arrays", "gone:GoneArrays", first=tmp_path)
    assert refused.returncode == 4
    assert "`--arrays` must name kinds whose framework is installed, got 'gone:GoneArrays': " in refused.stderr


def test_results_are_kept_for_what_they_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv("UNPOOL_TEST_CACHE", str(tmp_path))
    made = []

    def make(path):
        made.append(path)
        path.write_text("result")

    first = keep("some", ("source", "options"), ".txt", make)
    assert first.read_text() == "result"
    assert first.is_relative_to(tmp_path)
    assert keep("some", ("source", "options"), ".txt", make) == first
    assert keep("some", ("source", "other options"), ".txt", make) != first
    assert len(made) == 2


def test_nothing_is_kept_of_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("UNPOOL_TEST_CACHE", str(tmp_path))

    def fail(path):
        path.write_text("half")
        raise OSError("no compiler")

    with pytest.raises(OSError, match="no compiler"):
        keep("some", ("source",), ".txt", fail)
    assert not list((tmp_path / "some").iterdir())
