"""The site: no message is without an entry, no public name without its reference, and pictures are those of today."""

import ast
import re
from pathlib import Path

import pytest
from tree import ROOT, load_tool
from wrong_calls.texts import VARIES, fixed, functions, texts

import unpool

DOCS = ROOT / "docs"
PAGE = (DOCS / "errors.md").read_text(encoding="utf-8")
# The packages whose names are public, and the file that lists them.
PACKAGES = {
    "unpool": "__init__.py",
    "unpool.torch": "torch/__init__.py",
    "unpool.keras": "keras/__init__.py",
    "unpool.keras.addons": "keras/addons.py",
    "unpool.testing": "testing/__init__.py",
}
ENTRIES = re.findall(r"^### (.+)\n(?:<!-- messages: (.+) -->)?", PAGE, re.MULTILINE)


def test_each_message_has_an_entry():
    named = ", ".join(names for _, names in ENTRIES).split(", ")
    assert set(named) == set(functions())
    assert len(named) == len(set(named)), "one entry a message"


@pytest.mark.parametrize(("words", "names"), ENTRIES)
def test_an_entry_is_found_by_its_words(words, names):
    """The heading's words are those of the message, whatever varies in it."""
    for name in names.split(", "):
        assert all(any(part in text for text in fixed(name)) for part in words.split(VARIES)), name


def test_every_text_says_something():
    """A text that could not be read from the source would be empty."""
    for name, found in texts().items():
        assert found, name
        assert all(len(re.findall(r"\w+", text)) > 3 for _, text in found), name


def exported(part):
    """Return `__all__` of a package without importing it, since it may need a framework."""
    for node in ast.parse((Path(unpool.__file__).parent / part).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{part} has no __all__")


@pytest.mark.parametrize(("package", "part"), PACKAGES.items())
def test_every_public_name_is_in_the_reference(package, part):
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    found = re.findall(rf"^::: {re.escape(package)}\.(\w+)$", pages, re.MULTILINE)
    modules = {name.rpartition(".")[2] for name in PACKAGES}
    assert sorted(set(found) - modules) == sorted(exported(part) - {"__version__"})
    assert len(found) == len(set(found))


@pytest.fixture(scope="module")
def draw():
    return load_tool("site/draw")


def test_the_pictures_are_those_of_today(draw):
    kept = {path.stem: path.read_text(encoding="utf-8") for path in draw.FOLDER.iterdir()}
    assert kept == {name: picture() for name, picture in draw.PICTURES.items()}, "run python tools/site/draw.py"


def test_each_picture_is_shown(draw):
    shown = re.findall(r"!\[[^]]+\]\(pictures/(\w+)\.svg\)", (DOCS / "concepts.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(draw.PICTURES)


def test_a_list_that_is_shown_as_text_is_a_fault(tmp_path):
    """Markdown needs an empty line before a list: without one, its lines join the paragraph."""
    faults = load_tool("site/check").faults
    page = tmp_path / "index.html"
    page.write_text("<p>One of</p>\n<ul>\n<li>a</li>\n</ul>\n<p>One - two</p>\n- three")
    assert list(faults(tmp_path)) == []
    page.write_text("<p>One</p>\n<p>One of\n- <code>a</code>\n- b</p>")
    assert list(faults(tmp_path)) == ["index.html: a list is shown as text: - <code>a</code>"]
