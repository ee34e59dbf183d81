"""An extension of Griffe: what the docstrings of unpool need beyond its parsers.

An example outside of a section becomes a block of code, a list may follow a line at once, and the name of another
public object becomes a link.  Arguments that share a description stay together.  A class that inherits its `__init__`
shows the arguments of that.  The docstrings themselves are written for `help()` and editors.
"""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
LIST = re.compile(r"^( *)(?! |- )(.+)\n(?=\1- )", re.MULTILINE)
NAME = re.compile(r"(?<![`\[])`(?:unpool\.(?:torch\.|keras\.)?)?(\w+)`(?!`)")
TOGETHER = re.compile(r"^[a-z]\w*(?:, [a-z]\w*)+$(?=\n {4})", re.MULTILINE)
ARGUMENTS = re.compile(r"^Parameters\n-+\n.*", re.MULTILINE | re.DOTALL)
PARTS = ("unpool.torch", "unpool.keras", "unpool")  # where a name is looked up: in its own part first


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg, **kwargs):
        if pkg.name == "unpool":
            public = {part: set(find(pkg, part).exports or ()) for part in PARTS}
            for thing in walk(pkg):
                if thing.docstring:
                    thing.docstring.value += inherited(thing)
                    thing.docstring.value = rendered(thing.docstring.value, thing.path, public)


def find(package, path):
    inner = path.partition(".")[2]
    return package[inner] if inner else package


def walk(thing):
    """Yield an object and everything that it defines."""
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from walk(member)


def inherited(thing):
    """Return the arguments of the `__init__` that a class inherits, as a part of a docstring."""
    if not thing.is_class or "__init__" in thing.members or ARGUMENTS.search(thing.docstring.value):
        return ""
    inits = (base.members.get("__init__") for base in thing.mro())
    found = next((init.docstring.value for init in inits if init and init.docstring), "")
    return "".join(f"\n\n{arguments}" for arguments in ARGUMENTS.findall(found))


def rendered(text, path, public):
    """Return a docstring as Markdown for the parsers of mkdocstrings."""

    def link(match):
        name = match[1]
        for part in PARTS:
            if f"{path}.".startswith(f"{part}.") and name in public[part] and not path.endswith(f".{name}"):
                return f"[{match[0]}][{part}.{name}]"
        return match[0]

    text = TOGETHER.sub(lambda names: names[0].replace(", ", ",\N{NO-BREAK SPACE}"), text)
    blocks = EXAMPLE.split(text)
    examples = [f"```pycon\n{example}\n```" for example in EXAMPLE.findall(text)]
    prose = [NAME.sub(link, LIST.sub(r"\g<0>\n", block)) for block in blocks]
    return "".join(part for pair in zip(prose, [*examples, ""], strict=True) for part in pair)
