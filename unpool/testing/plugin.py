"""The plugin for pytest: it chooses the kinds of arrays of the contract, and how many cases of a test run.

`python -m pytest -p unpool.testing.plugin` loads it; nothing else does.  It adds these options and marks:

    --arrays KINDS      kinds of arrays, separated by commas: module:Class, or a name of `unpool.testing.arrays.KINDS`
    --one-in N          one in N of the cases of each test, always the same ones, and at least one
    --every             all cases, also of slow kinds of arrays
    kinds(attribute)    the test needs kinds of arrays that have this attribute, such as ``writes``
    one_in(number)      one in so many of the test's cases runs, without `--every`
    whole               all cases of the test run, with `--one-in` too
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib import import_module
from math import prod

import pytest

from unpool.testing.arrays import KINDS, Arrays
from unpool.testing.thinning import thinned

Kinds = dict[str, type[Arrays]]

_KINDS = pytest.StashKey[Kinds]()
_MARKS = (
    "kinds(attribute): the test needs kinds of arrays that have this attribute, such as `writes`",
    "one_in(number): one in so many of the test's cases runs, without `--every`",
    "whole: all cases of the test run, with `--one-in` too",
)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Arrays:
    """Return the kind of arrays that a case runs on."""
    return request.config.stash[_KINDS][request.param]()


def positive(text: str) -> int:
    """Return the number that an option gives, which must be 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise _not_positive(text)
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("unpool.testing")
    group.addoption(
        "--arrays",
        metavar="KINDS",
        help="the kinds of arrays that unpool's contract runs on, separated by commas: module:Class, or a name of "
        "unpool.testing.arrays.KINDS; default: all of KINDS whose framework is installed",
    )
    group.addoption(
        "--one-in",
        type=positive,
        default=1,
        metavar="N",
        help="run one in N of the cases of each test, always the same ones",
    )
    group.addoption(
        "--every",
        action="store_true",
        help="run all cases on the kinds of arrays that by default get one in several",
    )


@pytest.hookimpl(trylast=True)  # after a conftest.py has added kinds
def pytest_configure(config: pytest.Config) -> None:
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)
    config.stash[_KINDS] = chosen(config.getoption("--arrays"))


def chosen(names: str | None) -> Kinds:
    """Return the kinds of arrays by their names; those named have to be installed."""
    if names is None:
        return {name: kind for name, kind in KINDS.items() if kind.installed()}
    return {name: named(name) for name in names.split(",")}


def named(name: str) -> type[Arrays]:
    """Return the kind of arrays that is named module:Class, or by a name of `KINDS`."""
    module, colon, attribute = name.partition(":")
    try:
        kind = getattr(import_module(module), attribute) if colon else KINDS[name]
    except KeyError:
        raise _unknown_kind(name) from None
    except (ImportError, AttributeError) as error:
        raise _unimportable_kind(name, error) from error
    if not (isinstance(kind, type) and issubclass(kind, Arrays)):
        raise _not_arrays(name, kind)
    if not kind.installed():
        raise _kind_not_installed(name)
    return kind


def pytest_report_header(config: pytest.Config) -> str:
    kinds = config.stash[_KINDS]
    others = [name for name in KINDS if name not in kinds]
    left_out = f" (not chosen, or not installed: {', '.join(others)})" if others else ""
    return f"arrays: {', '.join(kinds)}{left_out}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        kinds = metafunc.config.stash[_KINDS]
        params = [pytest.param(name, marks=kind.marks) for name, kind in kinds.items()]
        metafunc.parametrize("backend", params, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cases that a kind of arrays cannot have, and of the rest all but one in several where so many run."""
    possible = [(item, kind) for item in items if fits(item, kind := kind_of(item))]
    runs = thinned([(group_of(item, kind), item.name, one_in(item, kind)) for item, kind in possible])
    kept = {item for (item, _), run in zip(possible, runs, strict=True) if run}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def kind_of(item: pytest.Item) -> type[Arrays] | None:
    """Return the kind of arrays that a case runs on, or None."""
    call = getattr(item, "callspec", None)
    return item.config.stash[_KINDS].get(call.params.get("backend")) if call else None


def fits(item: pytest.Item, kind: type[Arrays] | None) -> bool:
    """Return whether a kind has all that the marks of a test require of it."""
    return kind is None or all(getattr(kind, mark.args[0]) for mark in item.iter_markers("kinds"))


def group_of(item: pytest.Item, kind: type[Arrays] | None) -> tuple[object, ...]:
    """Return the key of a group of cases: those of one test on one kind or family. At least one of a group runs."""
    function = getattr(item, "function", None)
    return item.path, getattr(function, "__qualname__", item.name), kind and (kind.family or kind)


def one_in(item: pytest.Item, kind: type[Arrays] | None) -> int:
    """Return of how many cases one runs."""
    of_test = prod(mark.args[0] for mark in item.iter_markers("one_in"))
    by_default = 1 if item.config.getoption("--every") else of_test * (kind.one_in if kind else 1)
    whole = item.get_closest_marker("whole") is not None
    return by_default * (1 if whole else item.config.getoption("--one-in"))


# --- messages ---------------------------------------------------------------------------------------------------------


def _not_positive(text: str) -> ArgumentTypeError:
    return ArgumentTypeError(f"must be an integer from 1 on, got {text!r}: pass 1 for all cases")


def _unknown_kind(name: str) -> pytest.UsageError:
    known = ", ".join(KINDS)
    return pytest.UsageError(f"`--arrays` must name {known}, or module:Class, got {name!r}: pass one of these")


def _unimportable_kind(name: str, error: Exception) -> pytest.UsageError:
    advice = "correct the name, or install its package"
    return pytest.UsageError(f"`--arrays` must name a class that can be imported, got {name!r} ({error}): {advice}")


def _not_arrays(name: str, kind: object) -> pytest.UsageError:
    advice = "let the class extend unpool.testing.Arrays"
    return pytest.UsageError(f"`--arrays` must name a kind of arrays, got {name!r}, which is {kind!r}: {advice}")


def _kind_not_installed(name: str) -> pytest.UsageError:
    advice = "install it, or name other kinds"
    return pytest.UsageError(f"`--arrays` must name kinds whose framework is installed, got {name!r}: {advice}")
