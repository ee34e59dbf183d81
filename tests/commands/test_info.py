"""`unpool info` says what is installed, and why a backend does not work."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import main, rows

import unpool
from unpool.registry import BUILT_IN


class TestInfo:
    def test_says_what_is_installed(self) -> None:
        result = main("info")
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["unpool"] == unpool.__version__
        assert found["NumPy"] == np.__version__
        assert found["Python"].startswith(platform.python_version())
        assert found["cores"].split(",")[0] == str(os.cpu_count())
        assert found["cpu"] == f"yes (numpy {np.__version__})"
        assert all(len(line) < 80 or " " not in line.strip() for line in result.stdout.splitlines())

    def test_says_which_keras_is_installed(self, tmp_path: Path) -> None:
        """The layers have no backend of their own. Keras is not imported, which takes seconds and needs a backend."""
        (tmp_path / "keras-3.99.0.dist-info").mkdir()
        (tmp_path / "keras-3.99.0.dist-info" / "METADATA").write_text("Name: keras\nVersion: 3.99.0\n")
        (tmp_path / "keras.py").write_text("raise RuntimeError")
        assert rows(main("info", first=tmp_path).stdout)["Keras"] == "3.99.0"

    def test_fits_a_narrow_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        lines = main("info").stdout.splitlines()
        assert all(len(line) < 40 or " " not in line[14:].strip() for line in lines), lines

    def test_says_which_openmp_was_built(self) -> None:
        from unpool_backends.cpu import max_threads, openmp

        found = rows(main("info").stdout)["OpenMP"]
        if openmp():
            assert f"({openmp()}), {max_threads()} thread" in found
        else:
            assert found.startswith("none")

    def test_gives_the_reason_of_a_backend_that_does_not_load(self, tmp_path: Path) -> None:
        broken = tmp_path / "unpool_backends" / "cpu.py"
        broken.parent.mkdir()
        (broken.parent / "__init__.py").touch()
        broken.write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
        result = main("info", first=tmp_path)
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["cpu"].startswith(f"no (numpy {np.__version__}): backend 'cpu' does not load: OSError:")
        assert found["OpenMP"].startswith("unknown")
        assert found["unpool"] == unpool.__version__

    def test_says_what_was_not_built(self, tmp_path: Path) -> None:
        """Without the compiled modules, in a copy of the package."""
        import unpool_backends

        kept = Path(unpool_backends.__file__).parent
        shutil.copytree(kept, tmp_path / "unpool_backends", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
        reason = "backend 'cpu' needs the compiled kernels of the CPU, which are not built for this Python: build them"
        result = main("info", "--json", first=tmp_path)
        facts = json.loads(result.stdout)
        assert (result.returncode, facts["OpenMP"], facts["backends"]["cpu"]["works"]) == (0, None, False)
        assert facts["backends"]["cpu"]["reason"].startswith(reason)
        assert rows(main("info", first=tmp_path).stdout)["OpenMP"].startswith("unknown, because the CPU backend")
        for command in ("demo", "bench"):
            result = main(command, first=tmp_path)
            assert (result.returncode, result.stdout) == (1, "")
            assert result.stderr.startswith(reason)

    @pytest.mark.parametrize(("name", "version"), [("torch", "2.6.0"), ("torch", "1.13"), ("jax", "0.9.9+cpu")])
    def test_says_which_version_is_too_old(self, name: str, version: str, tmp_path: Path) -> None:
        """The framework is there, and lacks what a later version has."""
        (tmp_path / f"{name}.py").write_text(f"__version__ = {version!r}")
        facts = json.loads(main("info", "--json", first=tmp_path).stdout)["backends"][name]
        oldest = BUILT_IN[name].oldest
        assert facts == {
            "works": False,
            "framework": name,
            "version": version,
            "reason": f"backend {name!r} needs {name} {oldest} or later, found {version}: upgrade {name} in the "
            f"environment that runs this program",
        }
        assert f"no ({name} {version}): backend" in rows(main("info", first=tmp_path).stdout)[name]

    def test_a_late_version_that_fails_is_not_called_old(self, tmp_path: Path) -> None:
        (tmp_path / "torch.py").write_text("__version__ = '2.11.0'")
        found = rows(main("info", first=tmp_path).stdout)["torch"]
        assert found.startswith("no (torch 2.11.0): backend 'torch' does not load:")

    def test_as_json(self, tmp_path: Path) -> None:
        """What a framework prints at its import is not in the way."""
        (tmp_path / "torch.py").write_text("print('Hello')\nraise OSError('broken')")
        result = main("info", "--json", first=tmp_path)
        facts = json.loads(result.stdout)
        assert result.stderr.startswith("Hello")
        assert facts["unpool"] == unpool.__version__
        assert facts["OpenMP"]
        assert list(facts["backends"])[: len(BUILT_IN)] == list(BUILT_IN)
        assert facts["backends"]["cpu"] == {
            "works": True,
            "framework": "numpy",
            "version": np.__version__,
            "reason": None,
        }
        assert facts["backends"]["torch"]["reason"].startswith("backend 'torch' does not load: OSError: broken")

    def test_passes_over_bad_plugins(self, tmp_path: Path) -> None:
        texts = {
            "acmeexit": "import sys; sys.exit(7)",
            "acmelazy": "pool = scatter = gather = print\ndef __getattr__(name): raise SystemExit(name)",
            "acmethief": "",
        }
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
            (tmp_path / f"{name}-1.0.dist-info").mkdir()
            (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Name: {name}\n")
            point = f"{'cpu' if name == 'acmethief' else name} = {name}"
            (tmp_path / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[unpool.backends]\n{point}\n")
        result = main("info", first=tmp_path)
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["cpu"] == f"yes (numpy {np.__version__})"
        assert found["acmeexit"].startswith("no: backend 'acmeexit' does not load: SystemExit: 7")
        assert found["acmelazy"].startswith("no: backend 'acmelazy' does not load: SystemExit: fault")
        assert "\n  cpu (acmethief)\n              no: backend 'cpu' must have the name" in result.stdout
