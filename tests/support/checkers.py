"""Run type checkers on a user's program, and read the lines that they flag and those that the program marks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import unpool

# The comment of a wrong line has mypy's code and pyright's rule.
MARK = re.compile(r"# wrong: (?P<mypy>\S+), (?P<pyright>\S+)$")
COMMANDS = {
    "mypy": ("mypy", "--strict", "--output=json"),
    "pyright": ("pyright", "--outputjson", f"--pythonpath={sys.executable}"),
}


def check(program, checker, folder):
    """Assert that a checker flags the marked lines of a program, each for what its mark says, and no other line."""
    expected, found = marked(program, checker), flagged(program, checker, folder)
    assert found.keys() == expected.keys()
    for number, kind in expected.items():
        assert kind in found[number], f"line {number}"


def marked(program, checker):
    """Return the lines of a program that a checker has to flag, and what it has to call each."""
    lines = enumerate(program.read_text(encoding="utf-8").splitlines(), 1)
    return {number: mark[checker] for number, line in lines if (mark := MARK.search(line))}


def flagged(program, checker, folder):
    """Return the lines that a checker flags, and the set of what it calls each; it runs in a folder without settings.

    The unpool under test is checked, as a user's installed one, wherever it is.
    """
    paths = [str(Path(unpool.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", *COMMANDS[checker], str(program)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    found = {}
    for path, number, kind in READ[checker](result.stdout):
        assert Path(path).name == program.name, result.stdout
        found.setdefault(number, set()).add(kind)
    assert found or result.returncode == 0, result.stdout + result.stderr
    return found


def _of_mypy(text):
    for entry in map(json.loads, text.splitlines()):
        if entry["severity"] == "error":
            yield entry["file"], entry["line"], entry["code"]


def _of_pyright(text):
    for entry in json.loads(text)["generalDiagnostics"]:
        yield entry["file"], entry["range"]["start"]["line"] + 1, entry.get("rule", entry["message"])


READ = {"mypy": _of_mypy, "pyright": _of_pyright}
