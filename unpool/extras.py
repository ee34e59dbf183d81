"""Name the packages that an extra of unpool installs, for the messages that miss one of them."""

import re


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, as in ``pip install "torch>=2.11"``.

    They are read from the metadata of the installed unpool, since ``pip install "unpool[torch]"`` fails where no
    package index has this version of unpool.  A source tree without metadata gets that command all the same.
    """
    from importlib import metadata  # takes as long to import as unpool

    try:
        lines = metadata.requires("unpool") or []
    except metadata.PackageNotFoundError:
        lines = []
    packages = _packages(extra, lines) or [f"unpool[{extra}]"]
    return " ".join(["pip install", *(f'"{package}"' for package in packages)])


def _packages(extra: str, lines: list[str]) -> list[str]:
    """Return the requirements of an extra and of the extras that it names."""
    found: list[str] = []
    for line in lines:  # such as `torch>=2.11; extra == "torch"`
        requirement, _, marker = line.partition(";")
        if marker.strip() == f'extra == "{extra}"':
            inner = re.fullmatch(r"unpool\[(.+)\]", requirement)
            found += [name for one in inner[1].split(",") for name in _packages(one, lines)] if inner else [requirement]
    return found
