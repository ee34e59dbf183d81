"""Draw docs/badges.svg from what pyproject.toml and the package say: `python tools/site/badges.py`.

A badge tells what a checkout can show by itself, so nothing is loaded from elsewhere.
"""

import re
import tomllib
from html import escape
from pathlib import Path

import unpool

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "badges.svg"
LETTER, PAD, HEIGHT, GAP = 6.6, 7, 20, 6  # of a letter, beside a word, of a badge, between badges
DARK, BLUE = "#3b4350", "#2457a6"  # white letters have a contrast of 7 and more on both


def facts():
    """Return the left and the right word of each badge."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classifiers = "\n".join(project["classifiers"])
    pythons = re.findall(r"^Programming Language :: Python :: 3\.(\d+)$", classifiers, re.M)
    [stage] = re.findall(r"^Development Status :: \d - (.+)$", classifiers, re.M)
    return {
        "Python": f"3.{min(pythons, key=int)} to 3.{max(pythons, key=int)}",
        "version": f"{unpool.__version__}, {stage.lower()}",
        "license": project["license"],
    }


def badges():
    parts, x = [], 0
    for left, right in facts().items():
        for word, colour in ((left, DARK), (right, BLUE)):
            width = round(len(word) * LETTER)
            parts.append(f'<rect x="{x}" width="{width + 2 * PAD}" height="{HEIGHT}" fill="{colour}"/>')
            # The length is given, so that the word fits in any font.
            place = f'x="{x + PAD}" y="{HEIGHT / 2 + 4:g}" textLength="{width}"'
            parts.append(f"<text {place}>{escape(word)}</text>")
            x += width + 2 * PAD
        x += GAP
    title = "; ".join(f"{left} {right}" for left, right in facts().items())
    size = f'viewBox="0 0 {x - GAP} {HEIGHT}" width="{x - GAP}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    style = "<style>text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #ffffff }</style>"
    return "\n".join([head, f"<title>{escape(title)}</title>", style, *parts, "</svg>\n"])


if __name__ == "__main__":
    FILE.write_text(badges(), encoding="utf-8")
