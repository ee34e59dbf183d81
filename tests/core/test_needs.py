"""A test does not skip if its environment promised the module that it needs."""

import pytest
from needs import promised, require


def test_backends_and_modules_can_be_promised(monkeypatch):
    monkeypatch.setenv("UNPOOL_REQUIRE", "cpu, cuda,ml_dtypes,")
    assert promised() == {"numpy", "cupy", "ml_dtypes"}
    monkeypatch.delenv("UNPOOL_REQUIRE")
    assert promised() == set()


def test_what_is_there_is_imported():
    assert require("needs", "nothing can be told").require is require


def test_what_is_missing_is_skipped_and_says_why(monkeypatch):
    monkeypatch.setenv("UNPOOL_REQUIRE", "cpu")
    with pytest.raises(pytest.skip.Exception, match="no_such_module is not installed: nothing to compare with"):
        require("no_such_module", "nothing to compare with")


def test_what_was_promised_and_is_missing_fails(monkeypatch):
    monkeypatch.setenv("UNPOOL_REQUIRE", "cpu,no_such_module")
    for module in ("no_such_module", "no_such_module.part"):
        with pytest.raises(pytest.fail.Exception, match="promises no_such_module"):
            require(module, "nothing to compare with")


def test_what_is_broken_is_no_reason_to_skip(monkeypatch, tmp_path):
    (tmp_path / "broken_module.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        require("broken_module", "nothing to compare with")
