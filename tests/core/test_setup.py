"""setup.py: what it says without a compiler or a header, and what its probe for OpenMP decides."""

import os
import subprocess
import sys

import pytest
from needs import require
from processes import posix
from tree import ROOT
from unpool_backends import cpu

require("setuptools", "setup.py is read by it")
require("Cython", "setup.py imports it")
pytestmark = posix  # compilers here are scripts of the shell
INSTALL = {"darwin": "run `xcode-select --install`"}.get(sys.platform, "install build-essential on Debian or Ubuntu")
# Translating the kernels to C takes seconds.
RUN = """
import runpy, sys
import Cython.Build
Cython.Build.cythonize = lambda *sources, **options: print("translated") or []
sys.argv[0] = "setup.py"
found = runpy.run_path("setup.py", run_name="__main__")
"""
PROBE = """
from setuptools import Distribution, Extension
command = found["BuildExt"](Distribution({"ext_modules": [Extension("unpool", [])]}))
command.build_extensions = lambda: print(command.has_openmp(["-fopenmp"], ["-fopenmp"]))
command.ensure_finalized()
command.run()
"""


def setup(*arguments, program=RUN, **variables):
    """Run setup.py, and return its exit status, and what it printed to stdout and to stderr."""
    kept = {name: text for name, text in os.environ.items() if name not in ("CC", "CFLAGS", "LDFLAGS")}
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return result.returncode, result.stdout, result.stderr


def compiler(folder, line):
    """Return a compiler that runs a line of the shell for each file that it writes, `$file`."""
    program = folder / "compiler"
    program.write_text(f'#!/bin/sh\ncc "$@" || exit 1\nfor file; do case $file in */program) {line};; esac; done\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("command", ["bdist_wheel", "build_ext", "editable_wheel"])
def test_without_a_compiler_one_sentence_names_what_to_install(command):
    status, out, err = setup(command, CC="/nonexistent")
    assert (status, out) == (1, "")
    assert err.startswith(f"unpool needs a C compiler, and with CC='/nonexistent' none builds a program: {INSTALL}")
    assert err.endswith(", then run the command again.\n")
    assert err.count("\n") == 1


def test_variables_that_are_not_set_are_not_named(tmp_path):
    status, out, err = setup("build_ext", PATH=str(tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith(f"unpool needs a C compiler: {INSTALL}")


def test_a_compiler_that_cannot_link_is_none():
    status, out, err = setup("build_ext", CC="cc", LDFLAGS="-lno_such_library")
    assert (status, out) == (1, "")
    assert err.startswith("unpool needs a C compiler, and with CC='cc' LDFLAGS='-lno_such_library' none builds")


def test_without_the_header_one_sentence_names_its_package(tmp_path):
    program = tmp_path / "compiler"
    program.write_text('#!/bin/sh\nfor file; do grep -qs Python.h "$file" && exit 1; done\nexec cc "$@"\n')
    program.chmod(0o755)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    status, out, err = setup("build_ext", CC=str(program))
    assert (status, out) == (1, "")
    assert err.startswith(f"unpool needs the header Python.h of Python {version}: install python{version}-dev on ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["--version", "--classifiers"])
def test_metadata_needs_no_compiler_and_translates_nothing(command):
    status, out, err = setup("-q", command, CC="/nonexistent")
    assert (status, err) == (0, "")
    assert out
    assert "translated" not in out


def openmp(**variables):
    status, out, err = setup("--name", program=RUN + PROBE, **variables)
    assert status == 0, err
    return out.splitlines()[-1] == "True"


def test_openmp_is_found_as_it_was_for_this_build():
    assert openmp() is bool(cpu.openmp())


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("not a program", True),  # the system refuses it, as it refuses that of another processor
        ("#!/bin/sh\nexit 1\n", False),
        ("#!/bin/sh\necho threads=0 && exit 1\n", False),
        ("#!/bin/sh\necho threads=2\n", True),
    ],
)
@pytest.mark.skipif(not cpu.openmp(), reason="the compiler has no OpenMP")
def test_a_program_that_runs_must_find_threads(tmp_path, program, found):
    (tmp_path / "program").write_text(program)
    assert openmp(CC=compiler(tmp_path, f"cp {tmp_path}/program $file")) is found


@pytest.mark.parametrize(("emulator", "found"), [("echo threads=2 of", True), ("false", False)])
@pytest.mark.skipif(not cpu.openmp(), reason="the compiler has no OpenMP")
def test_an_emulator_runs_the_program_of_another_processor(tmp_path, emulator, found):
    given = compiler(tmp_path, "echo not a program >$file")
    assert openmp(CC=given, CROSSCOMPILING_EMULATOR=emulator) is found
