"""Pages of the documentation that are not in docs/: a hook of mkdocs (mkdocs.yml), used by `make docs`.

Some are made from the program (commands, files, API), some lie beside what they describe (results, cards of models).
Links between them are written as paths in the repository, so that they work there too; here they become links of the
site, and so does the path of a page in `backquotes`. A link to a file that is no page becomes its path.
"""

from __future__ import annotations

import argparse
import ast
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqcodec.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
COPIED = {
    "models/speech-3k.md": "sqcodec/models/speech-3k/CARD.md",
    "models/speech-1k.md": "sqcodec/models/speech-1k/CARD.md",
    "models/speech-1k-v1.md": "sqcodec/models/speech-1k-v1/CARD.md",
    "models/speech-3k-v1.md": "sqcodec/models/speech-3k-v1/CARD.md",
    "models/speech-3k-v2.md": "sqcodec/models/speech-3k-v2/CARD.md",
    "results/codecs.md": "egs/mini/codec1/RESULTS.md",
    "results/quantizers.md": "egs/mini/quantizers/RESULTS.md",
    "results/language-model.md": "egs/mini/lm1/RESULTS.md",
    "results/speed.md": "benchmarks/RESULTS.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Page of the site: file of the repository."""
API = {
    "api/codec.md": ("Codec and streams", ["load", "codec.Codec", "streaming"]),
    "api/files.md": ("Audio and files", ["audio", "container", "checkpoint", "registry", "config"]),
    "api/tokens.md": (
        "Tokens and vocabularies",
        ["tokens.corpus", "tokens.dataset", "vocabulary.strings", "vocabulary.tokenizer", "vocabulary.factors",
         "vocabulary.merges", "hf", "lm.model", "lm.head", "lm.speak"],
    ),
    "api/training.md": ("Training", ["training.recipe", "training.loop", "losses", "data.manifest"]),
    "api/quantizers.md": ("Quantizers", ["quantizers", "quantizers.base"]),
    "api/evaluation.md": (
        "Evaluation", ["evaluation.evaluate", "evaluation.systems", "evaluation.scorers", "evaluation.statistics"]
    ),
}  # fmt: skip
"""Page: its title and what of sqcodec is on it."""
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)]*)?\)")
SYSTEM = re.compile(r"speech-\dk(-v\d)?( (@|at) [\d.]+( kbit/s)?)?|(Opus|Codec2|Lyra 2) [\d.]+")
NAMED_PAGE = re.compile(r"(?<![`\[])`([\w./-]+\.md)`(?!`)")


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: the pages that exist."""
    from mkdocs.structure.files import File

    pages = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in COPIED.items()}
    pages |= {page: api_page(title, names) for page, (title, names) in API.items()}
    pages |= {"commands.md": commands_page(), "files.md": files_page()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    for page, source in COPIED.items():
        for label, target, _ in LINK.findall(pages[page]):
            picture = (ROOT / source).parent / target
            if label.startswith("!") and picture.is_file():
                beside = posixpath.join(posixpath.dirname(page), target)
                files.append(File.generated(config, beside, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """mkdocs: links as of the repository become links of the site."""
    uri = page.file.src_uri
    source = COPIED.get(uri, f"docs/{uri}")
    pages = {path: target for target, path in COPIED.items()}

    def named_page(match: re.Match[str]) -> str:
        path = match[1]
        if path not in pages and not (path.startswith("docs/") and (ROOT / path).is_file()):
            return match[0]
        return f"[{match[0]}]({posixpath.relpath(path, posixpath.dirname(source))})"

    def site_link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"\w+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        path = pages.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if path:
            return f"{label}({posixpath.relpath(path, posixpath.dirname(uri) or '.')}{anchor})"
        where = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if label.startswith("!") or not (ROOT / where).exists():
            return match[0]  # mkdocs says that it leads nowhere
        return f"{label[1:-1]} (`{where}`)"

    if uri.startswith(("results/", "models/")):
        markdown = re.sub(" ([±↑↓]) ?", "\u00a0\\1\u00a0", markdown)  # wide tables are scrolled, not broken
        markdown = re.sub("(?<=[\\d.]) (?=to [+-])|(?<=to) (?=[+-])", "\u00a0", markdown)
        markdown = re.sub(r"^\|.*", lambda row: SYSTEM.sub(unbroken, row[0]), markdown, flags=re.MULTILINE)
    return LINK.sub(site_link, NAMED_PAGE.sub(named_page, markdown))


def unbroken(match: re.Match[str]) -> str:
    return match[0].replace(" ", "\u00a0").replace("-", "\u2011")


def api_page(title: str, names: list[str]) -> str:
    return f"# {title}\n\n" + "".join(f"::: sqcodec.{name}\n\n" for name in names)


def commands_page() -> str:
    """The reference of the command line, from its parsers."""
    os.environ["COLUMNS"] = "88"
    text = ["# Commands", "", "`sqcodec COMMAND --help` prints the same.", ""]
    for parser in parsers(build_parser()):
        usage = parser.format_usage().removeprefix("usage: ").replace("\n       ", "\n").rstrip()
        text += [f"## {parser.prog}", "", parser.description or "", "", "```text", usage, "```", ""]
        rows = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        if rows:
            text += ["| argument | meaning |", "|---|---|"]
            text += [f"| {invocation(parser, action)} | {cell(explanation(parser, action))} |" for action in rows]
        if parser.epilog:
            text += ["", *epilog(parser.epilog)]
        text.append("")
    return "\n".join(text)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Those that take arguments of their own; groups of commands are replaced by their members."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for member in group.choices.values():
            yield from parsers(member)
    if not groups:
        yield parser


def invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    shown = parser.formatter_class(parser.prog)._format_action_invocation(action)
    return "<br>".join(f"<code>{cell(part)}</code>" for part in re.split(r", (?=-)", shown))


def epilog(text: str) -> list[str]:
    """Blocks of one title and indented lines, or one line "example: command"."""
    if "\n" not in text:
        title, _, command = text.partition(": ")
        return [title.capitalize() + ":", "", "```text", command, "```"]
    lines = []
    for block in text.strip().split("\n\n"):
        title, *commands = block.split("\n")
        lines += [title.capitalize(), "", "```text", *(line.removeprefix("  ") for line in commands), "```", ""]
    return lines


def explanation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser.formatter_class(parser.prog)._expand_help(action) if action.help else ""


def cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "&#124;").replace("*", "&#42;")


def files_page() -> str:
    """Every folder of the package and a line for each of its files, from their docstrings."""
    command = ["git", "ls-files", "sqcodec/*.py", "scripts/*.py", "examples/*.py", "benchmarks/*.py", "tests/*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders: dict[str, list[str]] = {}
    for name in sorted(listed):
        folders.setdefault(posixpath.dirname(name), []).append(posixpath.basename(name))
    text = ["# The files", "", "Which file holds what, in their own words.", ""]
    for folder in sorted(folders, key=lambda name: (not name.startswith("sqcodec"), name)):
        package = ROOT / folder / "__init__.py"
        about = sentence(package) if package.is_file() else ""
        text += [f"## {folder}/", "", about, "", "| file | what |", "|---|---|"]
        names = [name for name in folders[folder] if name != "__init__.py"]
        text += [f"| `{name}` | {cell(sentence(ROOT / folder / name))} |" for name in names] + [""]
    return "\n".join(text)


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    text = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[^.\d])(?<!et al)\.(?:\s|$)|:$", text)[0].rstrip(":. ")
