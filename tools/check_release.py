"""Check that the tree is ready to be released as a tag names it: ``python tools/check_release.py v1.2.3``.

The workflow of a release runs it first, and a person before the tag is pushed.  Tests compare all other places that
name the version.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    problems = list(missing(sys.argv[1], ROOT))
    if problems:
        sys.exit("\n".join(problems))
    print(f"{sys.argv[1]} is ready to be pushed")


def missing(tag: str, root: Path) -> Iterator[str]:
    """Yield a sentence for each thing that a release lacks."""
    version = stated(root, "unpool/__init__.py", r'^__version__ = "(.+)"')
    if tag != f"v{version}":
        yield f"the tag must be v{version}, got {tag}: set `__version__` in unpool/__init__.py, or push another tag"
    heading, _, when = stated(root, "CHANGELOG.md", r"^## (.+)").partition(" ")
    if heading != version or not re.fullmatch(r"\(\d{4}-\d\d-\d\d\)", when):
        yield f'the first heading of CHANGELOG.md must be "## {version} (YYYY-MM-DD)", got {heading} {when}: date it'
    if "urls" not in tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]:
        yield "pyproject.toml must have [project.urls], got none: fill them in as CONTRIBUTING.md says"


def stated(root: Path, name: str, pattern: str) -> str:
    """Return what the first line of this pattern in a file says."""
    found = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{name} has no line of the pattern {pattern}"
    return found[1]


if __name__ == "__main__":
    main()
