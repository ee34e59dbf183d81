"""The extras that messages, pages and comments name are those of pyproject.toml, and install what they say."""

import re
import shlex
import tomllib
from importlib import metadata

import pytest
from tree import ROOT

from unpool.extras import install_command
from unpool.registry import BUILT_IN

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FILES = [
    ROOT / "README.md",
    *(ROOT / "docs").glob("*.md"),
    *(path for folder in ("unpool", "backends", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")),
]
# As in `pip install "unpool[torch]"  # or [jax], [torch,cuda13]`.  A message may fill a name in, as {backend}.
NAMED = re.compile(r"(?:unpool|\.| )\[([a-z0-9,]+)\]")


def packages(extra):
    """Return the packages that an extra installs, by name."""
    found = set()
    for requirement in EXTRAS[extra]:
        name = re.match(r"[\w-]+", requirement).group()
        inner = re.match(r"unpool\[([\w,]+)\]", requirement)
        found |= set().union(*map(packages, inner.group(1).split(","))) if inner else {name}
    return found


def test_named_extras_exist():
    named = {
        name
        for path in FILES
        for line in path.read_text(encoding="utf-8").splitlines()
        if "pip install" in line or "unpool[" in line
        for names in NAMED.findall(line)
        for name in names.split(",")
    }
    assert {"torch", "cuda12", "cuda13", "onnx", "dask", "demo", "jax"} <= named
    assert named <= set(EXTRAS)


def test_every_part_has_an_extra():
    """The message for a missing framework names the packages of its extra: a backend's, or that of `unpool.keras`."""
    assert {*BUILT_IN, "keras"} - {"cpu"} <= set(EXTRAS)


@pytest.mark.parametrize("extra", sorted({*BUILT_IN, "keras", "demo", "test"} - {"cpu"}))
def test_the_command_of_a_message_installs_the_extra(extra):
    """Not its versions: the metadata of an editable install is as old as the install."""
    command = shlex.split(install_command(extra))
    assert command[:2] == ["pip", "install"]
    assert {re.match(r"[\w-]+", package).group() for package in command[2:]} == packages(extra)


@pytest.mark.parametrize("lines", [None, [], ["numpy>=1.26", 'other>=1; extra == "torch2"']])
def test_without_metadata_the_command_names_the_extra(lines, monkeypatch):
    def requires(name):
        if lines is None:
            raise metadata.PackageNotFoundError(name)
        return lines

    monkeypatch.setattr(metadata, "requires", requires)
    assert install_command("torch") == 'pip install "unpool[torch]"'


def test_the_command_has_the_versions_of_the_metadata(monkeypatch):
    lines = ["numpy>=1.26", 'unpool[c,d]; extra == "b"', 'one[x]<3,>=2; extra == "c"', 'two; extra == "d"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert install_command("b") == 'pip install "one[x]<3,>=2" "two"'


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("cuda", {"cupy-cuda13x"}),
        ("cuda12", {"cupy-cuda12x"}),
        ("cuda13", {"cupy-cuda13x"}),
        ("onnx", {"torch", "ml_dtypes", "onnx", "onnxscript"}),
    ],
)
def test_what_an_extra_installs(extra, expected):
    assert packages(extra) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_oldest_version_is_that_of_the_extra(name):
    """A message names it where an older version fails."""
    requirements = PROJECT["dependencies"] if name == "cpu" else EXTRAS["cuda13" if name == "cuda" else name]
    package = "cupy-cuda13x" if name == "cuda" else BUILT_IN[name].framework
    found = [text for text in requirements if re.match(rf"{package}(\[\w+\])?>=", text)]
    assert [text.partition(">=")[2] for text in found] == [BUILT_IN[name].oldest]
