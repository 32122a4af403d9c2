"""Imports run in one direction, and the command line starts without the heavy packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "sqcodec"

ALLOWED = {
    "config": set(),
    "files": set(),
    "extras": set(),
    "tables": set(),
    "rates": set(),
    "plots": set(),
    "audio": set(),
    "container": {"entropy"},
    "distributed": set(),
    "runs": set(),
    "schedule": set(),
    "quantizers": {"config", "distributed"},
    "nn": {"config", "quantizers"},
    "losses": {"config", "distributed"},
    "discriminators": {"config"},
    "data": {"config", "audio"},
    "identity": {"config"},
    "checkpoint": {"config", "nn", "identity"},
    "hub": {"config", "checkpoint", "compat", "entropy"},
    "compat": {"config", "checkpoint", "nn"},
    "registry": {"config", "checkpoint", "identity"},
    "entropy": {"config", "schedule"},
    "codec": {"config", "entropy", "hub", "identity", "audio", "nn", "quantizers", "registry", "checkpoint"},
    "streaming": {"nn", "checkpoint", "codec"},
    "export": {"nn", "quantizers", "codec"},
    "training": {
        "config", "nn", "quantizers", "losses", "discriminators", "data", "checkpoint", "registry", "runs",
        "distributed", "identity", "evaluation", "schedule",
    },
    "study": {"config", "data", "evaluation", "nn", "quantizers", "training"},
    "tokens": {
        "config", "entropy", "audio", "data", "registry", "checkpoint", "codec", "vocabulary", "quantizers",
        "evaluation",
    },
    "vocabulary": set(),
    "hf": {"config", "nn", "codec"},
    "lm": {"runs", "schedule", "data", "quantizers", "tokens", "vocabulary", "codec", "audio", "checkpoint"},
    "evaluation": {
        "config", "audio", "container", "entropy", "nn", "quantizers", "registry", "checkpoint", "codec", "data",
        "distributed", "export", "",
    },
}
"""What each part may import from the package ("" is the package itself); cli everything."""

EVERYWHERE = ("extras", "files", "tables", "rates", "plots")
"""What all may import."""


def imported_parts(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path}: relative import over a folder"
            if node.module == "sqcodec":
                names = [f"sqcodec.{alias.name}" for alias in node.names]
            elif node.level == 0 and node.module:
                names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "sqcodec":
                found.add(parts[1] if len(parts) > 1 else "")
    return found


def test_imports_run_in_one_direction() -> None:
    checked = 0
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in ALLOWED:
            extra = imported_parts(path) - ALLOWED[part] - {part, *EVERYWHERE}
            assert not extra, f"{path.name} ({part}) imports {extra}"
            checked += 1
        else:
            assert part in ("cli", "__init__", "__main__"), f"{part} is not in the table of allowed imports"
    assert checked > 20


def test_published_networks_have_a_room_of_their_own() -> None:
    """Only what picks a network by its configuration knows them."""
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).as_posix()
        if not inside.startswith("nn/published/") and inside != "nn/__init__.py":
            assert "nn.published" not in code_of(path), f"{inside} knows sqcodec.nn.published"


def code_of(path: Path) -> str:
    """A file's import statements, as source text."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys; from sqcodec.cli import build_parser; build_parser();"
        "print([m for m in ('torch', 'numpy', 'soundfile', 'librosa') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
