"""The recipes that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from sqcodec.files import beside
from sqcodec.tables import nearest, read_toml


def recipe_names() -> list[str]:
    """Names of the recipes, such as "base" and "quantizers/vp"."""
    folder = beside("recipes")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))


def recipe_summary(name: str) -> str:
    """What a recipe is: the comment that it starts with, to the end of its first sentence."""
    lines = (beside("recipes") / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("# "):
            break
        comment.append(line[2:].strip())
    return " ".join(comment).partition(". ")[0].rstrip(".:;")


def find_recipe(name: str | Path) -> Path:
    """A file as it is; or the installed recipe of this name (``installed_recipe``)."""
    return Path(name) if Path(name).is_file() else installed_recipe(name)


def installed_recipe(name: str | Path) -> Path:
    """The recipe of this name that comes with the package, with or without .toml.

    Raises:
        FileNotFoundError: there is none; the message names the nearest.
    """
    asked, known = str(name).removesuffix(".toml").removeprefix("recipes/"), recipe_names()
    if asked in known:
        return beside("recipes") / f"{asked}.toml"
    raise FileNotFoundError(
        f"No recipe '{name}': it is no file, and none that comes with the package has this name"
        f"{nearest(asked, known, cutoff=0.4)}. 'sqcodec recipes' lists those."
    )


def copy_recipe(name: str, folder: str | Path, force: bool = False) -> list[Path]:
    """Copies a recipe, and those that it builds on, into a folder; returns the files. They keep their subfolders.

    Raises:
        FileExistsError: one of the files is there already, and not ``force``.
    """
    root = beside("recipes").resolve()
    wanted, queue = [], [installed_recipe(name).resolve()]
    while queue:
        path = queue.pop(0)
        if path not in wanted:
            wanted.append(path)
            base = read_toml(path).get("base", [])
            queue += [(path.parent / entry).resolve() for entry in ([base] if isinstance(base, str) else base)]
    targets = {path: Path(folder) / path.relative_to(root) for path in wanted}
    for target in targets.values():
        if target.exists() and not force:
            raise FileExistsError(f"{target} exists; --force overwrites it")
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return list(targets.values())
