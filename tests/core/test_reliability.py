"""docs/reliability.md: its table is what tools/reliability.py writes from docs/reliability.json."""

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from tree import ROOT


@pytest.fixture(scope="module")
def tool():
    spec = spec_from_file_location("reliability", ROOT / "tools" / "reliability.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(tool):
    return json.loads(tool.KEPT.read_text(encoding="utf-8"))


def test_the_page_has_the_table_of_what_was_kept(tool):
    page = tool.PAGE.read_text(encoding="utf-8")
    assert (page.count(tool.BEGIN), page.count(tool.END)) == (1, 1)
    assert tool.with_table(page, kept(tool)) == page, "run python tools/reliability.py"


def test_each_figure_has_a_command_and_a_date(tool):
    assert kept(tool).keys() <= tool.ROWS.keys()
    for found in kept(tool).values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
        assert found["machine"]
        assert found["result"]


def test_each_command_names_what_exists(tool):
    envs = re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.MULTILINE)
    for _, command in tool.ROWS.values():
        program, *arguments = command.removeprefix("python ").split()
        if program == "-m":
            assert arguments[0] in ("pytest", "tox"), command
            assert arguments[0] == "pytest" or arguments[-1] in envs, command
        else:
            assert (ROOT / program).exists(), command


def test_a_row_that_did_not_run_says_so(tool):
    lines = tool.table({}).splitlines()[2:]
    assert len(lines) == len(tool.ROWS)
    assert all(line.endswith(f"| {tool.NOT_RUN} |") for line in lines)


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
    monkeypatch.setattr(tool, "ROWS", {"ours": ("a program", f"python {tmp_path / 'program.py'}")})
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
