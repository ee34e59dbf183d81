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
# Modules that are about another package, and useless without it.
NEEDS = {
    "unpool.keras": "keras",
    "unpool.torch": "torch",
    "unpool.demo": "matplotlib",
    "unpool_cuda": "cupy",
    "unpool_jax": "jax",
    "unpool_tensorflow": "tensorflow",
    "unpool_torch": "torch",
    "unpool_torch.onnx": "onnxscript",
}
MODULES = [
    name
    for package in ("unpool", "unpool_cpu", "unpool_cuda", "unpool_jax", "unpool_tensorflow", "unpool_torch")
    for name in (
        package,
        *(
            module.name
            for module in pkgutil.walk_packages(find_spec(package).submodule_search_locations, f"{package}.")
        ),
    )
]


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
    for about in (name, name.partition(".")[0]):
        if about in NEEDS:
            require(NEEDS[about], f"{about} is about it")
    module = import_module(name)
    run(doctest.DocTestFinder().find(module))
    assert module.__doc__, "every module opens by saying what it is for"


def test_the_examples_are_found():
    """All of the public functions have one, so a finder that finds none is broken."""
    assert run(doctest.DocTestFinder().find(import_module("unpool.functional"))) >= 24


@pytest.mark.skipif(not README.exists(), reason="the tests run away from the source tree, where the README is not")
def test_the_examples_of_the_readme_run():
    text = README.read_text(encoding="utf-8")
    # One text of all blocks, which share their names; a fence would be taken for expected output.
    blocks = re.findall(r"^```(?:python|pycon)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prompts = [block for block in blocks if ">>>" in block]
    assert prompts, "the README shows no example that runs"
    test = doctest.DocTestParser().get_doctest("\n\n".join(prompts), {}, "README.md", str(README), 0)
    assert run([test])


@pytest.mark.skipif(not README.exists(), reason="the tests run away from the source tree, where the README is not")
@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (README.parent / page).read_text())
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing
