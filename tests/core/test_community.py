"""CITATION.cff, the badges, the forms for issues and the page of users say what the project says elsewhere."""

import re
import tomllib

import pytest
from tree import ROOT, load_tool

import unpool

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
# Of the Citation File Format 1.2.0, those of the whole file.
REQUIRED = {"authors", "cff-version", "message", "title"}
OPTIONAL = {
    *("abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url"),
    *("preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type", "url"),
    "version",
}
# The labels of the fields that a report of a bug must fill in.
LABELS = ("unpool info --json", "The call", "What happened", "What you expected, and which library gives it")


def test_the_citation_has_the_keys_of_its_format():
    keys = re.findall(r"^([\w-]+):", CITATION, re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert set(keys) >= REQUIRED
    assert set(keys) <= REQUIRED | OPTIONAL


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cff-version", "1.2.0"),
        ("title", PROJECT["name"]),
        ("version", unpool.__version__),
        ("license", PROJECT["license"]),
        ("abstract", PROJECT["description"]),
        ("type", "software"),
    ],
)
def test_the_citation_says_what_the_project_says(key, value):
    assert re.findall(rf"^{key}: (.+)$", CITATION, re.MULTILINE) == [value]


def test_the_citation_names_the_holders_of_the_license():
    [name] = re.findall(r"^authors:\n  - name: The (.+)$", CITATION, re.MULTILINE)
    assert name in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_badges_are_those_of_today():
    badges = load_tool("site/badges")
    assert badges.FILE.read_text(encoding="utf-8") == badges.badges(), "run python tools/site/badges.py"
    said = "; ".join(f"{left} {right}" for left, right in badges.facts().items())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"!\[(.+?)\]\(docs/badges\.svg\)", readme) == [said]


def fields(name):
    """Return the text of each field of a form."""
    return re.split(r"^  - type: ", (FORMS / f"{name}.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


def test_each_field_of_a_bug_report_is_required():
    required = [field for field in fields("bug") if field.startswith("textarea")]
    assert len(required) == len(LABELS)
    for field, words in zip(required, LABELS, strict=True):
        assert words in field
        assert field.endswith("    validations:\n      required: true\n")


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_the_fields_of_a_form_have_names(name):
    found = [re.findall(r"^    id: (\w+)$", field, re.MULTILINE) for field in fields(name) if "textarea" in field]
    assert all(len(ids) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == len(found)


def test_a_hole_is_reported_in_private():
    texts = [(FORMS / f"{name}.yml").read_text(encoding="utf-8") for name in ("bug", "config")]
    texts.append((ROOT / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8"))
    assert all("SECURITY.md" in text for text in texts)
    for text in texts:
        assert not re.findall(r"https?://|\w@\w", text), "nobody may read mail to this address"


def test_the_page_of_users_lists_the_models_that_are_ported():
    page = (ROOT / "docs" / "users.md").read_text(encoding="utf-8")
    section = page.partition("## Ported models")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| ([\w-]+) \|", section, re.MULTILINE)
    source = (ROOT / "tests" / "torch" / "test_published.py").read_text(encoding="utf-8")
    [models] = re.findall(r"^MODELS = \{(.+?)^\}", source, re.MULTILINE | re.DOTALL)
    assert listed[1:] == re.findall(r'^ {4}"(.+?)":', models, re.MULTILINE)
