"""Writes docs/recipes.md: every setting of networks, recipes, studies and language models, from their types.

    python scripts/document_settings.py [--check]
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
import textwrap
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sqcodec.config import FrameConfig, QuantizerConfig, WaveformConfig
from sqcodec.evaluation.tables import markdown_table
from sqcodec.lm.recipe import LMRecipe
from sqcodec.study.plan import StudyFile
from sqcodec.tables import Length, Range, Rising, Table, convert, field_types
from sqcodec.training.recipe import SECTIONS
from sqcodec.training.recipes import recipe_names, recipe_summary

TARGET = Path(__file__).parents[1] / "docs" / "recipes.md"

HEAD = """\
# Which settings are there?

This page is made from the program (`python scripts/document_settings.py`). A recipe is a TOML file with the tables
below; `--set train.steps=2000` on the command line sets one entry. `base = "other.toml"` lays a recipe over another, in
its own folder or one that comes with the package; of several in a list, later ones count. An entry that is not here,
or a value out of its range, is an error that names it.

## The recipes that come with the package

`sqcodec train NAME --data FOLDER --out DIR` trains one, `sqcodec recipes --copy NAME` copies it.
"""

MODEL = """\
## Networks: [model]

`family` says which of the two sorts of networks it is. `version` is written by the program; files of earlier versions
are read as what they were.
"""


def document() -> str:
    """The page."""
    parts = [HEAD, _table(["recipe", "what it is"], [[f"`{name}`", recipe_summary(name)] for name in recipe_names()])]
    parts += [MODEL]
    for config in (FrameConfig, WaveformConfig):
        parts += [f"### family = \"{config.family}\"", *_settings(config, "model")]
    parts += ["### The quantizer: [model.quantizer]", *_quantizers()]
    for name, section in SECTIONS.items():
        parts += [f"## [{name}]", *_settings(section, name)]
    parts += ["## Studies (`sqcodec study`)", *_settings(StudyFile, "")]
    parts += ["## Language models (`sqcodec lm train --set`)", *_settings(LMRecipe, "")]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _settings(cls: type[Table], name: str) -> list[str]:
    """A table of the settings of a class, then those of the tables in it."""
    notes, defaults = _notes(cls), {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    rows, below = [], []
    for key, hint in field_types(cls).items():
        inner = _inner(hint)
        if inner is QuantizerConfig:
            continue
        if inner is not None:
            many = {list: f"[[{_join(name, key)}]]", dict: f"[{_join(name, key)}.NAME]"}.get(get_origin(hint))  # type: ignore
            below += [f"**{many or f'[{_join(name, key)}]'}**", *_settings(inner, _join(name, key))]
        else:
            rows.append([f"`{key}`", _default(defaults[key], hint), _allowed(hint), notes.get(key, "")])
    about = inspect.cleandoc(cls.__doc__ or "").replace("``", "`")
    return [about, *([_table(["setting", "default", "allowed", "what it does"], rows)] if rows else []), *below]


def _quantizers() -> list[str]:
    """A table for each class of quantizers."""
    parts = ['`kind` says which it is, "fsp" where it is left out. Each takes these settings and nothing else.']
    importlib.import_module("sqcodec.quantizers.compared")  # registers its kinds
    for chosen in dict.fromkeys(QuantizerConfig.kinds.values()):
        parts += [f"**{', '.join(kind for kind, cls in QuantizerConfig.kinds.items() if cls is chosen)}**"]
        parts += _settings(chosen, "")
    return parts


def _inner(hint: Any) -> type[Table] | None:
    candidates = [hint, *get_args(hint)]
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, Table)), None)


def _allowed(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        inner, rules = _allowed(arguments[0]), [str(rule) for rule in arguments[1:]]
        if any(isinstance(rule, Range) for rule in arguments[1:]):
            whole = arguments[0] is int and "number" not in rules[0]
            return f"{'a whole number ' if whole else ''}{rules[0]}"
        kind = next(rule for rule in arguments[1:] if isinstance(rule, (Length, Rising)))
        return f"{inner}; {kind}"
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in arguments)
    if origin in (list, tuple):
        return f"a list, each {_allowed(arguments[0])}"
    if origin is dict:
        return f"a table, each {_allowed(arguments[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_allowed, arguments))
    return {int: "a whole number", float: "a number", bool: "true, false", str: "text"}.get(hint, "anything")


def _default(field: Any, hint: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "needed"
    try:
        convert(value, hint, "")
    except ValueError:
        return "needed"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value!r}`".replace("'", '"')


def _notes(cls: type) -> dict[str, str]:
    """The strings that stand below the fields of a class and of those that it is made from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is Table or not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, note in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(note.value.value).replace("``", "`").split())
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(markdown_table([[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]))


def _join(*names: str) -> str:
    return ".".join(name for name in names if name)


def main() -> int:
    text = document()
    if "--check" in sys.argv:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
