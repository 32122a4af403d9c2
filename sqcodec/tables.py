"""Typed tables: frozen dataclasses that check their fields, and how they come out of TOML and go back.

All settings of the package are read by this one parser. A field's annotation says what it takes: a plain type,
``Literal`` for a choice, ``list[...]`` or ``tuple[...]``, another table, and ``Annotated[..., Range(...)]`` for bounds:

    @dataclass(frozen=True)
    class Train(Table):
        TABLE = "train"
        steps: Annotated[int, Range(1, 10**9)] = 10000

``Train(steps=-5)`` and ``parse(Train, {"steps": -5})`` raise ValueError with the entry, its value and what is allowed.
(pydantic does this too; with 35 tables its import takes .2 s of a start of .15 s.)
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T", bound="Table")

PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both allowed; ``odd``, ``even``: only such."""

    low: float
    high: float
    odd: bool = False
    even: bool = False

    def holds(self, value: float) -> bool:
        parity = value % 2 == 1 if self.odd else value % 2 == 0 or not self.even
        return self.low <= value <= self.high and parity

    def __str__(self) -> str:
        kind = "an odd number " if self.odd else "an even number " if self.even else ""
        return f"{kind}between {_number(self.low)} and {_number(self.high)}"


@dataclass(frozen=True)
class Length:
    """Bounds of the number of entries of a list."""

    low: int
    high: int

    def holds(self, value: Any) -> bool:
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        count = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"a list of {count} entries"


@dataclass(frozen=True)
class Rising:
    """A list whose entries do not fall, ``length`` of them."""

    length: int

    def holds(self, value: Any) -> bool:
        return len(value) == self.length and list(value) == sorted(value)

    def __str__(self) -> str:
        return f"{self.length} numbers, none below the one before"


class Table:
    """Base of the tables. ``TABLE`` is its place in the file, for messages; ``check`` holds rules between fields."""

    TABLE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            object.__setattr__(self, name, convert(getattr(self, name), hint, join(self.TABLE, name)))
        self.check()

    @classmethod
    def read(cls, values: Mapping[str, Any], path: str = "", where: str = "") -> Table:
        """``parse``, or what a class that stands for several does instead."""
        return parse(cls, values, path, where)

    def check(self) -> None:
        """Raises ValueError where fields do not fit together."""

    def require(self, condition: bool, name: str, allowed: str) -> None:
        """Raises ValueError with a field's name, its value and what is ``allowed``, unless ``condition``."""
        if not condition:
            fail(join(self.TABLE, name), getattr(self, name), allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain tables and lists, as for TOML and JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore


def parse(cls: type[T], values: Mapping[str, Any], path: str = "", where: str = "") -> T:
    """A table out of plain values; ``path`` names its place in the file, ``where`` the file, for messages.

    Raises:
        ValueError: an unknown key (with the nearest that there is), or a value that its field does not take.
    """
    hints = field_types(cls)
    check_keys(values, hints, path, where)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ValueError(f"'{join(path, field.name)}' is missing{f' in {where}' if where else ''}.")
    return cls(**{name: convert(value, hints[name], join(path, name), where) for name, value in values.items()})


def check_keys(values: Mapping[str, Any], known: Iterable[str], path: str = "", where: str = "") -> None:
    """Raises ValueError that names the first key that is not ``known``, and the nearest that is."""
    known = list(known)
    for name in values:
        if name not in known:
            place, hint = f" in {where}" if where else "", nearest(str(name), known, cutoff=0.0, path=path)
            raise ValueError(f"Unknown key '{join(path, name)}'{place}{hint}. Allowed: {', '.join(known)}.")


def nearest(text: str, known: Iterable[str], cutoff: float = 0.6, path: str = "") -> str:
    """" (did you mean 'train.steps'?)" for ``text`` that is none of the ``known`` names of ``path``; nothing where none
    is near."""
    found = difflib.get_close_matches(text, list(known), n=1, cutoff=cutoff)
    return f" (did you mean '{join(path, found[0])}'?)" if found else ""


def convert(value: Any, hint: Any, name: str, where: str = "") -> Any:
    """A value as its annotation wants it (an int as float, a list as tuple), or ValueError that names it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = convert(value, arguments[0], name, where)
        for rule in arguments[1:]:
            if not rule.holds(value):
                fail(name, value, str(rule))
        return value
    if origin is Literal:
        if type(value) is not str or value not in arguments:
            fail(name, value, f"one of: {', '.join(arguments)}{nearest(str(value), arguments)}")
        return value
    if origin in (list, tuple):
        return origin(_items(value, arguments[0], name, where))
    if origin is dict:
        if not isinstance(value, Mapping):
            fail(name, value, "a table")
        return {str(key): convert(item, arguments[1], join(name, str(key)), where) for key, item in value.items()}
    if origin in (Union, types.UnionType) or _is_table(hint):
        return _table(value, arguments or (hint,), name, where)
    if hint is Any:
        return value
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint is float or type(value) is not hint:
        fail(name, value, PLAIN[hint])
    return value


def fail(name: str, value: Any, allowed: str) -> None:
    """ValueError for a value that is not allowed."""
    raise ValueError(f"{name} is {_short(value)}: it must be {allowed}")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises FileNotFoundError, or ValueError where it is not TOML."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not valid TOML: it is no text in UTF-8") from None
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text; ``where`` names it in messages."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{where} is not valid TOML: {error}") from error
    except RecursionError:
        raise ValueError(f"{where} is not valid TOML: it is nested too deeply") from None


def read_override(text: str) -> tuple[list[str], Any]:
    """``a.b=value`` of the command line: the keys, and the value as JSON, or else text."""
    name, separator, value = text.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not separator or not all(keys):
        raise ValueError(f"'{text}' is not of the form key=value, such as train.steps=2000.")
    try:
        found: Any = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        found = value
    return keys, found


def put(tables: dict[str, Any], keys: list[str], value: Any) -> None:
    """Sets an entry by its keys; tables on the way are made."""
    for number, key in enumerate(keys[:-1], start=1):
        tables = tables.setdefault(key, {})
        if not isinstance(tables, dict):
            fail(join(*keys[:number]), tables, f"a table to hold '{keys[number]}'")
    tables[keys[-1]] = value


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over others. One that says its own ``kind`` replaces what is below: other kinds, other keys."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and "kind" not in value
        merged[key] = overlay(merged[key], value) if both else value
    return merged


def join(*names: str) -> str:
    """Dotted name."""
    return ".".join(name for name in names if name)


_known: dict[type, dict[str, Any]] = {}


def field_types(cls: type) -> dict[str, Any]:
    """Annotations of a table's fields, in order."""
    if cls not in _known:
        hints = get_type_hints(cls, include_extras=True)
        _known[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _known[cls]


def _items(value: Any, hint: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        fail(name, value, "a list")
    try:
        return [convert(item, hint, name, where) for item in value]
    except ValueError as error:
        if get_origin(hint) in (Union, types.UnionType) or _is_table(hint):
            raise
        allowed = str(error).partition("must be ")[2]
        raise ValueError(f"{name} is {_short(value)}: each entry must be {allowed}") from None


def _table(value: Any, classes: tuple[Any, ...], name: str, where: str) -> Any:
    if isinstance(value, classes):
        return value
    if not isinstance(value, Mapping):
        fail(name, value, "a table")
    return classes[0].read(value, name, where)


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Table)


def _plain(value: Any) -> Any:
    if isinstance(value, Table):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
