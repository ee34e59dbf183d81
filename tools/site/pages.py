"""A hook of MkDocs: pages and sources outside of docs/, the links to them, and the texts on the page of errors.

Pages are written for a code host: a link is the path of a file of the repository.  Here each such file becomes a page
or a picture of the site, and the link leads there.
"""

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from wrong_calls.texts import texts  # noqa: E402 - after its folder is on the path

# Pages outside of docs/, and what they are here.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "unpool/testing/vectors/README.md": "vectors.md",
    "examples": "gallery.md",
}
ORIGINS = {uri: path for path, uri in PAGES.items() if path.endswith(".md")}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
FILE_NAME = re.compile(r"(?<!!)\[(?:[\w./-]*/)?([\w-]+\.md)\](?=\(([^)#\s]+))")
MESSAGES = re.compile(r"^<!-- messages: (.+) -->$", re.MULTILINE)
LEXERS = {".py": "python", ".toml": "toml", ".h": "c", ".cff": "yaml"}


def origin(uri):
    """Return the path in the repository of a page of the site."""
    return ORIGINS.get(uri, f"docs/{uri}")


def address(path):
    """Return the place in the site of a path of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.endswith(".png") else f"source/{path}.md"


def targets(uri, text):
    """Yield the path in the repository of each relative link of a page."""
    for link in LINK.findall(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(origin(uri)), link))


def source(path):
    """Return a page that shows a file of the repository, or those of a folder."""
    whole = ROOT / path
    files = [whole] if whole.is_file() else sorted(file for file in whole.iterdir() if file.suffix in LEXERS)
    parts = [f"## {file.name}\n\n````{LEXERS[file.suffix]}\n{file.read_text(encoding='utf-8')}````\n" for file in files]
    return "\n".join([f"# {path}\n", *parts])


def on_files(files, config):
    for path, uri in PAGES.items():
        if path.endswith(".md"):
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for page in list(files.documentation_pages()):
        for path in targets(page.src_uri, page.content_string):
            uri = address(path)
            if uri in files.src_uris or not (ROOT / path).exists():
                continue  # the strict build reports a link that leads nowhere
            if uri.startswith("source/"):
                files.append(File.generated(config, uri, content=source(path)))
            else:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it would be the only entry
    paths = targets(uri, markdown)
    markdown = LINK.sub(lambda _: posixpath.relpath(address(next(paths)), posixpath.dirname(uri) or "."), markdown)
    markdown = FILE_NAME.sub(lambda link: named(link, uri, files), markdown)
    return MESSAGES.sub(lambda names: "\n\n".join(map(block, names[1].split(", "))), markdown)


def named(link, uri, files):
    """Return the text of a link, the name of a file in the sources, as the page's name in the menu."""
    target = files.get_file_from_path(posixpath.normpath(posixpath.join(posixpath.dirname(uri), link[2])))
    return f"[{target.page.title}]" if target and target.page and target.page.title else link[0]


def block(name):
    """Return what the code raises by the message function of this name, for the page of errors."""
    return "\n\n".join(f"```text\n{kind}: {text}\n```" for kind, text in texts()[name])
