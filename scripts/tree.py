"""Writes the README's tree: one line for each file, from the first sentence of its docstring or comment.

    python scripts/tree.py            # rewrites README.md between its two marks
    python scripts/tree.py --check    # exit status 1 where it is out of date
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tree -->", "<!-- end of tree -->"
ORDER = ("sqcodec", "examples", "recipes", "egs", "benchmarks", "docs", "scripts", "tests")
WHOLE = ("sqcodec/configs/published", "tests/data", "tests/golden", "sqcodec/models")  # one line for the folder
FIXED = {
    "sqcodec/configs/published": "the 7 SQCodec and 4 L3AC configurations as published",
    "sqcodec/models": "what ships: a folder each, and index.toml",
    "tests/data": "bundled speech, with attributions",
    "tests/golden": "golden vectors of the authors' packages",
}


def sentence(path: Path) -> str:
    """The first sentence that a file says of itself, or nothing."""
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    elif path.suffix in (".sh", ".toml"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#!")]
        text = lines[0][1:] if lines and lines[0].startswith("#") else ""
    elif path.suffix == ".md":
        text = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    else:
        text = ""
    text = " ".join(text.split("\n\n")[0].split()).replace("`", "")
    first = re.split(r"(?<=[^.\d])(?<!et al)\.(?:\s|$)|:$", text)[0].rstrip(":. ")
    return first if len(first) <= 110 else first[:107].rsplit(" ", 1)[0] + " ..."


def lines() -> list[str]:
    """The tree's lines."""
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    files = sorted(name for name in listed if name.partition("/")[0] in ORDER and (ROOT / name).is_file())
    files.sort(key=lambda name: (ORDER.index(name.partition("/")[0]), name.rsplit("/", 1)[0]))
    shown: list[str] = []
    folders: set[str] = set()
    for name in files:
        whole = next((folder for folder in WHOLE if name.startswith(folder + "/")), None)
        parts = (whole or name).split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                shown.append(f"{'  ' * (depth - 1)}{parts[depth - 1]}/")
                package = ROOT / folder / "__init__.py"
                if package.is_file():
                    shown[-1] = pad(shown[-1], sentence(package))
        if whole:
            if whole not in folders:
                folders.add(whole)
                shown.append(pad("  " * (len(parts) - 1) + parts[-1] + "/", FIXED[whole]))
        elif parts[-1] not in ("__init__.py", "py.typed"):
            shown.append(pad("  " * (len(parts) - 1) + parts[-1], sentence(ROOT / name)))
    return shown


def pad(name: str, text: str) -> str:
    return f"{name:<30} {text}".rstrip()


def main() -> int:
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    tail = rest.partition(END)[2]
    after = f"{head}{BEGIN}\n\n```text\n" + "\n".join(lines()) + f"\n```\n\n{END}{tail}"
    if after == before:
        return 0
    if "--check" in sys.argv:
        print("The README's tree is out of date: python scripts/tree.py", file=sys.stderr)
        return 1
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
