"""docs/reliability.md: its tables are what tools/reliability.py writes from docs/reliability.json."""

import json
import re
import sys
import tomllib

import pytest
from tree import ROOT, load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("reliability")


def kept(tool):
    return json.loads(tool.KEPT.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_what_was_kept(tool):
    page = tool.PAGE.read_text(encoding="utf-8")
    assert [page.count(begin) for begin in tool.TABLES] == [1] * len(tool.TABLES)
    assert page.count(tool.END) == len(tool.TABLES)
    assert tool.with_tables(page, kept(tool)) == page, "run python tools/reliability.py"


def test_each_figure_has_a_command_and_a_date(tool):
    assert kept(tool).keys() <= tool.ROWS.keys()
    for found in kept(tool).values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
        assert found["machine"]
        assert found["result"]


def test_each_command_names_what_exists(tool):
    configuration = (ROOT / "tox.ini").read_text(encoding="utf-8")
    listed = re.search(r"^env_list = (.*)", configuration, re.MULTILINE)[1].split(", ")
    envs = listed + re.findall(r"^\[testenv:(\w+)\]", configuration, re.MULTILINE)
    for _, command in tool.ROWS.values():
        program, *arguments = command.removeprefix("python ").split()
        if program == "-m":
            assert arguments[0] in ("pytest", "tox"), command
            assert arguments[0] == "pytest" or arguments[-1] in envs, command
        else:
            assert (ROOT / program).exists(), command


def test_a_row_that_did_not_run_says_so(tool):
    lines = tool.table(tool.ROWS, {}).splitlines()[2:]
    assert len(lines) == len(tool.ROWS)
    assert all(line.endswith(f"| {tool.NOT_RUN} |") for line in lines)


def test_each_library_that_the_extras_name_has_a_row(tool):
    """CuPy has none: without a GPU, its oldest version cannot be tested.  Nor have programs that no test imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for texts in project["optional-dependencies"].values() for text in texts)]
    named = {re.match(r"[\w-]+", text).group() for text in texts}
    named -= {"unpool", "cupy-cuda12x", "cupy-cuda13x", "pre-commit", "tox"}
    assert named == {name for name, (_, command) in tool.VERSIONS.items() if "versions.py" in command}
    versions = load_tool("versions")
    assert named == set(versions.LIBRARIES)
    assert all(re.fullmatch(r"[\d.]+", versions.lower_bound(name)) for name in named), "each has one lower bound"


def test_the_python_of_a_run_by_tox_is_kept(tool):
    text = "platform linux -- Python 3.15.2, pytest-9.0.1\n.....\n== 5 passed in 3s ==\nseed 23: 8 cases\n"
    assert tool.last_line(text) == "Python 3.15.2: seed 23: 8 cases"


@pytest.fixture
def alone(tool, monkeypatch, tmp_path):
    """Let the tool write into a folder of its own, and know one command."""
    for name in ("KEPT", "PAGE"):
        path = tmp_path / getattr(tool, name).name
        path.write_bytes(getattr(tool, name).read_bytes())
        monkeypatch.setattr(tool, name, path)
    (tmp_path / "program.py").write_text(
        "import sys\nprint('begun')\nprint('== 3 cases ==')\nsys.exit(len(sys.argv) - 1)\n"
    )
    rows = {"ours": ("a program", f"python {tmp_path / 'program.py'}")}
    monkeypatch.setattr(tool, "ROWS", rows)
    monkeypatch.setattr(tool, "TABLES", dict.fromkeys(tool.TABLES, rows))
    monkeypatch.setattr(tool, "KEPT", tmp_path / "kept.json")
    tool.KEPT.write_text("{}")
    return tool


def test_a_command_is_run_and_its_last_line_kept(alone, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reliability.py", "ours", "--date", "2026-11-29", "--on", "a machine"])
    alone.main()
    assert kept(alone) == {"ours": {"date": "2026-11-29", "machine": "a machine", "result": "3 cases"}}
    assert "| 2026-11-29, a machine | 3 cases |" in alone.PAGE.read_text(encoding="utf-8")


def test_a_command_that_fails_keeps_nothing(alone, monkeypatch):
    what, command = alone.ROWS["ours"]
    monkeypatch.setitem(alone.ROWS, "ours", (what, f"{command} fail"))
    monkeypatch.setattr(sys, "argv", ["reliability.py", "ours"])
    with pytest.raises(SystemExit, match="ended with 1, and nothing is kept"):
        alone.main()
    assert kept(alone) == {}
