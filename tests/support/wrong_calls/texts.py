"""What each function that builds an exception or a warning says, for the page of errors.

A text is the message of a call in the tables, or the source of the message with dots for what varies.
"""

import ast
from functools import cache
from pathlib import Path

import unpool_backends

import unpool
from wrong_calls.arguments import ARGUMENTS
from wrong_calls.indices import INDICES
from wrong_calls.messages import BUILT
from wrong_calls.outs import OUTS

VARIES = "…"


@cache
def functions():
    """Return the name of each function, without underscore, and its definitions."""
    found = {}
    for package in (unpool, unpool_backends):
        for path in sorted(Path(package.__file__).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                returns = getattr(node, "returns", None)
                if returns and ast.unparse(returns).endswith(BUILT) and node.name != "_meaning":
                    found.setdefault(node.name.lstrip("_"), []).append(node)
    return found


def fixed(name):
    """Return the texts in the source of a function, without what varies."""
    nodes = (node for function in functions()[name] for node in ast.walk(function))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def built_in(function):
    """Yield the type and the text of each exception that a function builds."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith((*BUILT, "Error")):
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else node.args[:1]
            text = "".join(part.value if isinstance(part, ast.Constant) else VARIES for part in parts)
            yield ast.unparse(node.func).rpartition(".")[2], text.replace(2 * VARIES, VARIES)


@cache
def texts():
    """Return the name of each function, and one text for each exception that it builds."""
    examples = {}
    for case in (*ARGUMENTS.values(), *INDICES.values(), *(case for case, _ in OUTS.values())):
        if case.message is not None:
            examples.setdefault(case.by, (case.error.__name__, case.message))
    built = {name: [text for node in nodes for text in built_in(node)] for name, nodes in functions().items()}
    return {name: [examples[name]] if name in examples and len(built[name]) == 1 else built[name] for name in built}
