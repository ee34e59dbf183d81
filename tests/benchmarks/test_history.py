"""`benchmarks/history.py` draws the versions that were kept, and the page has their tables."""

import json
from dataclasses import asdict

import pytest
from needs import require
from tree import load

from unpool.bench.cases import Case
from unpool.bench.report import conclude, start

history = load("history")
POOL, UNPOOL = Case("pool k2", "pool"), Case("unpool k2", "unpool")


def keep(folder, name, version, times, *, date="2026-11-30", processor="Abacus", cases=(POOL, UNPOOL)):
    """Write a report: `times` has unpool's and PyTorch's by case, with quartiles 6 % below and 10 % above."""
    report = start(cases, threads=2)
    report["machine"] |= {"processor": processor, "load_average": 0.0, "governors": []}
    report["versions"] |= {"unpool": version, "torch": "2.13.0"}
    report |= {"date": f"{date}T10:00:00+00:00", "columns": ["unpool", "PyTorch"]}
    report["rounds"] = [
        [
            {
                "peer": column,
                "case": case,
                "column": column,
                "milliseconds": time,
                "quartiles": [0.95 * time, 1.1 * time],
            }
            for case, row in times.items()
            for column, time in zip(report["columns"], row, strict=False)
        ]
    ]
    conclude(report)
    (folder / f"{name}.json").write_text(json.dumps(report))


@pytest.fixture
def folder(tmp_path):
    """Return a folder of four versions in two releases, measured on two machines, the last one first."""
    keep(tmp_path, "0.10.0", "0.10.0", {"pool k2": (2.0, 5.0), "unpool k2": (1.0,)}, processor="Analytical Engine")
    keep(tmp_path, "0.9.0", "0.9.0", {"pool k2": (4.0, 50.0)}, date="2026-11-01")
    keep(tmp_path, "0.9.0.dev-two", "0.9.0", {"pool k2": (5.0, 50.0)}, date="2026-12-02", cases=(POOL,))
    keep(tmp_path, "0.9.0.dev-one", "0.9.0", {"pool k2": (6.0, 50.0)}, date="2026-12-01")
    return tmp_path


def test_the_page_has_the_tables_of_what_is_kept():
    page = history.PAGE.read_text(encoding="utf-8")
    assert page.count(history.BEGIN) == page.count(history.END) == 1
    kept = history.read(history.KEPT)
    assert history.with_tables(page, kept) == page, "run python benchmarks/history.py"
    assert history.PICTURE.exists() == bool(kept), "run python benchmarks/history.py"


def test_versions_are_in_the_order_of_their_releases(folder):
    assert [version.name for version in history.read(folder)] == ["0.9.0.dev-one", "0.9.0.dev-two", "0.9.0", "0.10.0"]


def test_the_tables(folder):
    text = history.tables(history.read(folder))
    lines = text.splitlines()
    assert "| 0.10.0 | 2026-11-30 | Analytical Engine, 2 threads | 2.13.0 | - |" in lines
    assert lines[-4:] == [
        "| case | 0.9.0.dev-one | 0.9.0.dev-two | 0.9.0 | 0.10.0 |",
        "|---|---|---|---|---|",
        "| pool k2 | 6.00 ±8% (8.33x) | 5.00 ±8% (10x) | 4.00 ±8% (12.5x) | 2.00 ±8% (2.5x) |",
        "| unpool k2 | - | - | - | 1.00 ±8% |",
    ]


def test_noise_is_noted(folder):
    file = folder / "0.9.0.json"
    report = json.loads(file.read_text())
    file.write_text(json.dumps(report | {"warnings": ["Not quiet: other programs ran."]}))
    assert "| 2.13.0 | Not quiet: other programs ran. |" in history.tables(history.read(folder))


def test_a_file_of_another_version_is_refused(folder):
    (folder / "0.8.0.json").write_text((folder / "0.9.0.json").read_text())
    with pytest.raises(SystemExit, match=r"0\.8\.0\.json must have the name of the version that it measured, 0\.9\.0"):
        history.read(folder)


def test_a_file_of_something_else_is_refused(folder):
    (folder / "0.8.0.json").write_text(json.dumps(asdict(POOL)))
    with pytest.raises(SystemExit, match=r"0\.8\.0\.json must be a file that --json wrote"):
        history.read(folder)


def test_the_picture_has_a_part_for_each_case(folder):
    require("matplotlib", "the picture is drawn with it")
    pool, unpool = history.picture(history.read(folder)).axes
    assert [axes.get_title("left") for axes in (pool, unpool)] == ["pool k2", "unpool k2"]
    assert [text.get_text() for text in pool.texts] == ["8.33x", "10x", "12.5x", "2.5x"]
    assert list(unpool.texts) == []
    lines = [list(zip(*line.get_data(), strict=True)) for line in pool.lines if line.get_linestyle() == "-"]
    ours, theirs = [(0, 6.0), (1, 5.0), (2, 4.0)], [(0, 50.0), (1, 50.0), (2, 50.0)]
    assert lines == [ours, [(3, 2.0)], theirs, [(3, 5.0)]], "no line leads from one machine to another"


def test_the_program_writes_the_page_and_the_picture(folder, tmp_path, monkeypatch, capsys):
    require("matplotlib", "the picture is drawn with it")
    page, picture = tmp_path / "page.md", tmp_path / "history.png"
    page.write_text(f"before\n{history.BEGIN}\nold\n{history.END}\nafter\n")
    for name, value in {"KEPT": folder, "PAGE": page, "PICTURE": picture}.items():
        monkeypatch.setattr(history, name, value)
    monkeypatch.setattr("sys.argv", ["history.py"])
    history.main()
    assert capsys.readouterr().out == "drawn: 0.9.0.dev-one, 0.9.0.dev-two, 0.9.0, 0.10.0\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert text.startswith(f"before\n{history.BEGIN}\n\n![")
    assert text.endswith(f"\n\n{history.END}\nafter\n")
    assert "old" not in text
