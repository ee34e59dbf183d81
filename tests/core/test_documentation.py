"""Every example in a docstring, in the README and in docs/ runs, and prints the output that it shows.

Sybil runs the pages. A block that begins with a prompt is a doctest; any other block is a program.
"""

import doctest
import os
import pkgutil
import re
from importlib import import_module
from importlib.util import find_spec

import pytest
from needs import require, require_backend
from tree import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_PAGES = [ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")]
# Modules that are useless without another package.
NEEDS = {
    "unpool.keras": "keras",
    "unpool.torch": "torch",
    "unpool.bench.plot": "matplotlib",
    "unpool.demo": "matplotlib",
    "unpool_backends.cuda": "cupy",
    "unpool_backends.dask": "dask",
    "unpool_backends.jax": "jax",
    "unpool_backends.tensorflow": "tensorflow",
    "unpool_backends.torch": "torch",
    "unpool_backends.torch.onnx": "onnxscript",
    "unpool_backends.torch.onnx_portable": "onnxscript",
}


def modules(package, folders):
    """Yield the names of a package and all its modules, without imports, which may need a framework."""
    yield package
    for module in pkgutil.iter_modules(folders, f"{package}."):
        if module.ispkg:
            yield from modules(module.name, [f"{module.module_finder.path}/{module.name.rpartition('.')[2]}"])
        else:
            yield module.name


MODULES = [
    name
    for package in ("unpool", "unpool_backends")
    for name in modules(package, find_spec(package).submodule_search_locations)
]


HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^ *(?:```|~~~)(.*)$", re.MULTILINE)
NEEDED = re.compile(r"^<!-- needs: (.+) -->$", re.MULTILINE)  # for a section, or for the page if above all sections


def sections(page):
    """Yield heading, start and end of each section of a page that has Python blocks, and what it needs."""
    text = page.read_text(encoding="utf-8")
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    needed = NEEDED.findall(text[: headings[0].start()])
    for heading, end in zip(headings, ends, strict=True):
        section = text[heading.start() : end]
        if "```python" in section:
            yield heading[1], heading.start(), end, " ".join(needed + NEEDED.findall(section)).split()


def named(page):
    """Return the path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


SECTIONS = {f"{named(page)}: {name}": (page, *rest) for page in PAGES for name, *rest in sections(page)}


def document(page):
    """Return a page whose Python blocks Sybil has parsed."""
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser

    return Sybil([PythonCodeBlockParser(doctest_optionflags=doctest.REPORT_NDIFF | doctest.ELLIPSIS)]).parse(page)


def run(tests):
    """Run examples, and return their number."""
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    report = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    return runner.tries


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    for about, framework in NEEDS.items():
        if name == about or name.startswith(f"{about}."):
            require(framework, f"{about} is about it")
    module = import_module(name)
    run(doctest.DocTestFinder().find(module))
    assert module.__doc__, "every module opens by saying what it is for"


def test_the_examples_are_found():
    """Every public function has an example, so a finder that finds fewer is broken."""
    parts = [name for name in MODULES if name.startswith("unpool.functional.")]
    assert sum(run(doctest.DocTestFinder().find(import_module(part))) for part in parts) >= 24


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # from frameworks
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # from Captum
@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_of_a_page_run(section):
    """Each section runs by itself, as a reader pastes it. A comment names the modules and variables it needs."""
    page, start, end, needed = SECTIONS[section]
    require("sybil", "it runs the pages")
    for need in needed:
        variable, assigns, value = need.partition("=")
        if not assigns:
            require(need, f"{section} is about it")
        elif os.environ.get(variable) != value:
            pytest.skip(f"{section} starts a process with {need}")
        if need == "cupy":
            require_backend("cuda")
    parsed = document(page)
    parsed.namespace["__name__"] = "__main__"
    examples = [example for example in parsed.examples() if start <= example.start < end]
    assert examples
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_example_of_a_page_is_left_out(page):
    """Every fence names its language, Sybil finds every Python block, and no Python stands outside of fences."""
    require("sybil", "it runs the pages")
    text = page.read_text(encoding="utf-8")
    kinds = FENCE.findall(text)[::2]
    assert set(kinds) <= {"python", "console", "text"}
    first = HEADING.search(text).start()  # text above the first section belongs to no section
    starts = [example.start for example in document(page).examples() if example.start > first]
    blocks = {text.rfind("```python", 0, start + len("```python")) for start in starts}
    assert len(blocks) == kinds.count("python")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^(?: {4}|\t).*(?:>>> |import )", prose, re.MULTILINE)


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("path", [*PAGES, *OTHER_PAGES], ids=named)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_pictures_have_a_text_for_those_who_do_not_see_them(page):
    texts = re.findall(r"!\[(.*?)\]\(", page.read_text(encoding="utf-8"))
    assert all(len(text) > 20 for text in texts)


def test_the_gallery_has_every_example():
    """Each program has a section that shows its picture, and the table leads to each section."""
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".png")}
    linked = re.findall(r"\(\.\./examples/(.+?)\)", text)
    assert sorted(linked) == sorted(files)

    places = {re.sub(r"[^a-z0-9]+", "-", heading.lower()) for heading in HEADING.findall(text)}
    table = re.findall(r"^\| \[.+?\]\(#(.+?)\) \|", text, re.MULTILINE)
    assert sorted(table) == sorted(places)
