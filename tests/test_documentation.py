"""Every example in a docstring and in the README runs and prints what it says."""

import doctest
import pkgutil
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from needs import require

README = Path(__file__).parent.parent / "README.md"
MIGRATION = README.parent / "docs" / "migration.md"
here = pytest.mark.skipif(
    not README.exists(), reason="the tests run away from the source tree, where the pages are not"
)
# Modules that are about another package, and useless without it.
NEEDS = {
    "unpool.keras": "keras",
    "unpool.torch": "torch",
    "unpool.demo": "matplotlib",
    "unpool_backends.cuda": "cupy",
    "unpool_backends.jax": "jax",
    "unpool_backends.tensorflow": "tensorflow",
    "unpool_backends.torch": "torch",
    "unpool_backends.torch.onnx": "onnxscript",
}


def modules(package, folders):
    """Yield the names of a package and all its modules; nothing is imported, which a framework may be missing for."""
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


def examples(text):
    """Return what a page shows at a prompt: one text of all its blocks, which share their names."""
    # A fence would be taken for expected output.
    blocks = re.findall(r"^```(?:python|pycon)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n\n".join(block for block in blocks if ">>>" in block)


def sections(page):
    """Return the sections of a page that have examples, by heading."""
    parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE) if page.exists() else []
    return {part.partition("\n")[0]: part for part in parts if examples(part)}


def run(tests):
    """Run examples; return how many there were."""
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
    """All of the public functions have one, so a finder that finds none is broken."""
    assert run(doctest.DocTestFinder().find(import_module("unpool.functional"))) >= 24


@here
def test_the_examples_of_the_readme_run():
    found = examples(README.read_text(encoding="utf-8"))
    assert found, "the README shows no example that runs"
    assert run([doctest.DocTestParser().get_doctest(found, {}, "README.md", str(README), 0)])


@here
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # Captum's
@pytest.mark.parametrize("heading", sections(MIGRATION))
def test_the_examples_of_the_migration_page_run(heading):
    """Each section by itself; a comment below its heading says what it needs."""
    section = sections(MIGRATION)[heading]
    (needs,) = re.findall(r"^<!-- needs: (.+) -->$", section, re.MULTILINE)
    for module in needs.split():
        require(module, f'the section "{heading}" is about it')
    assert run([doctest.DocTestParser().get_doctest(examples(section), {}, heading, str(MIGRATION), 0)])


@here
@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/migration.md"])
def test_links_lead_somewhere(page):
    path = README.parent / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing
