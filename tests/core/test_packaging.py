"""What is written in several places for a release: versions, Pythons, wheels, the sdist, the recipe, the workflows."""

import re
import shlex
import shutil
import tomllib
from fnmatch import fnmatch

import pytest
from tree import ROOT, load_tool

import unpool

CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIGURATION["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")
RECIPE = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
# The Pythons of the classifiers, as (3, 11).
PYTHONS = [
    tuple(map(int, found.groups()))
    for text in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (\d)\.(\d+)", text))
]
ENVS = re.search(r"^env_list = (.*)", TOX, re.MULTILINE)[1].split(", ")


def of_tox(python):
    return f"py{python[0]}{python[1]}"


def test_the_authors_are_the_holders_of_the_licence():
    [author] = PROJECT["authors"]
    assert f", {author['name'].lower()}\n" in (ROOT / "LICENSE").read_text(encoding="utf-8").lower()


def test_each_python_of_the_classifiers_has_an_env():
    assert [of_tox(python) for python in PYTHONS] == sorted(env for env in ENVS if re.fullmatch(r"py\d+", env))
    oldest = ".".join(map(str, PYTHONS[0]))
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f'target-version = "{of_tox(PYTHONS[0])}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_classifier_of_free_threading_has_an_env():
    assert any("Free Threading" in text for text in PROJECT["classifiers"])
    assert any(re.fullmatch(r"py\d+t", env) for env in ENVS)


def test_each_cuda_of_the_classifiers_has_an_extra():
    named = {found[1] for text in PROJECT["classifiers"] if (found := re.search(r"CUDA :: (\d+)$", text))}
    assert {f"cuda{number}" for number in named} == {
        extra for extra in PROJECT["optional-dependencies"] if "cuda" in extra
    } - {"cuda"}


def test_wheels_of_a_release_serve_each_python():
    """The abi3 wheel is that of the oldest Python, and is tested on the newest, too."""
    oldest, newest = (f"cp{python[0]}{python[1]}-*" for python in (PYTHONS[0], PYTHONS[-1]))
    # cibuildwheel has no free-threaded Python before 3.14.
    free = [f"cp{python[0]}{python[1]}t-*" for python in PYTHONS if python >= (3, 14)]
    build = CONFIGURATION["tool"]["cibuildwheel"]["build"]
    assert build == [oldest, newest, *free]
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f'"py_limited_api": "{oldest[:-2]}"' in setup
    assert f'"0x{PYTHONS[0][0]:02X}{PYTHONS[0][1]:02X}0000"' in setup


def test_wheels_for_linux_have_the_license_of_the_openmp_that_is_copied_into_them():
    """The command runs in a copy of the sdist, which has what git tracks."""
    command, source, copy = shlex.split(CONFIGURATION["tool"]["cibuildwheel"]["linux"]["before-all"])
    assert command == "cp"
    assert "GCC RUNTIME LIBRARY EXCEPTION" in (ROOT / source).read_text(encoding="utf-8")
    assert not (ROOT / copy).exists()
    [pattern] = PROJECT["license-files"]
    assert [path.name for path in ROOT.glob(pattern)] == ["LICENSE"]
    assert fnmatch(copy, pattern)


def test_the_recipe_builds_this_version():
    assert f'\n  version: "{unpool.__version__}"\n' in RECIPE
    assert f"\n  summary: {PROJECT['description']}\n" in RECIPE
    assert f"\n  license: {PROJECT['license']}\n" in RECIPE


def test_the_recipe_needs_what_the_package_needs():
    needed = [*PROJECT["dependencies"], *CONFIGURATION["build-system"]["requires"]]
    needed += [
        text for text in PROJECT["optional-dependencies"]["test"] if re.match("pytest|hypothesis|ml_dtypes", text)
    ]
    lines = {line.strip(" -") for line in RECIPE.splitlines()}
    assert {re.sub("(?=[<>])", " ", text, count=1) for text in needed} <= lines


def test_workflows_use_exact_versions():
    """A tag of an action can be moved, so each is named by its commit; the comment has the version."""
    assert WORKFLOWS
    pinned = r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yml"
    for path in WORKFLOWS:
        uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
        assert uses
        assert all(re.fullmatch(pinned, action) for action in uses)
        # Each step that installs names the version, too.
        installed = re.findall(r"pip install (\S+)", path.read_text(encoding="utf-8"))
        assert all("==" in package for package in installed)


def test_the_workflow_has_each_python():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +(\d\.\d+t?)$", text, re.MULTILINE)
    promised = {env for env in ENVS if re.fullmatch(r"py\d+t?", env)}
    assert {"py" + version.replace(".", "") for version in named} == promised
    assert "- run: .ci/run\n" in text


def test_the_workflow_of_a_release_checks_and_tests_before_it_publishes():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    needs = dict(re.findall(r"^  (\w+):\n(?:    name: .*\n)?    needs: (.*)$", text, re.MULTILINE))
    assert needs == {"test": "check", "sdist": "check", "wheels": "sdist", "publish": "[test, sdist, wheels]"}
    assert 'tools/check_release.py "$GITHUB_REF_NAME"' in text
    assert text.count("id-token: write") == 1


@pytest.fixture(scope="module")
def missing():
    return load_tool("check_release").missing


@pytest.fixture
def ready(tmp_path):
    """Return a tree of the files that a release is checked by, in which nothing is missing."""
    for name in ("unpool/__init__.py", "CHANGELOG.md", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    version = unpool.__version__
    change(tmp_path, "CHANGELOG.md", rf"^## {re.escape(version)} .*", f"## {version} (2026-12-01)")
    if "urls" not in PROJECT:
        change(tmp_path, "pyproject.toml", r"^# \[project\.urls\].*", '[project.urls]\nSource = "an address"')
    return tmp_path


def change(root, name, pattern, text):
    path = root / name
    old = path.read_text(encoding="utf-8")
    new = re.sub(pattern, text, old, count=1, flags=re.MULTILINE)
    assert new != old or text in old, pattern
    path.write_text(new, encoding="utf-8")


def test_a_tree_that_lacks_nothing_is_ready(missing, ready):
    assert list(missing(f"v{unpool.__version__}", ready)) == []


@pytest.mark.parametrize("tag", ["0.1.0", "v9.9.9", "main"])
def test_the_tag_must_be_the_version(missing, ready, tag):
    (found,) = missing(tag, ready)
    assert found.startswith(f"the tag must be v{unpool.__version__}, got {tag}: ")


@pytest.mark.parametrize(
    ("name", "pattern", "text", "words"),
    [
        ("CHANGELOG.md", r"\(2026-12-01\)$", "(unreleased)", "the first heading of CHANGELOG.md must be"),
        ("CHANGELOG.md", r"^## ", "## 9.9.9 (2026-12-02)\n\n## ", "the first heading of CHANGELOG.md must be"),
        ("pyproject.toml", r"^\[project\.urls\]", "[tool.urls]", "pyproject.toml must have [project.urls], got none"),
    ],
)
def test_what_a_release_lacks_is_named(missing, ready, name, pattern, text, words):
    change(ready, name, pattern, text)
    (found,) = missing(f"v{unpool.__version__}", ready)
    assert found.startswith(words)
    assert ": " in found, "the remedy is there"
