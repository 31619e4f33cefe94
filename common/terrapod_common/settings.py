"""Settings: class defaults, then a TOML file, then the environment; all mistakes told at once.

One msgspec struct describes a program's settings. Nested structs are tables in the file and
``__`` in the environment: ``database.url`` is ``TERRAPOD_DATABASE__URL``.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)


class Secret(str):
    """Text that never prints."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return str.__str__(self)


class BadSettings(Exception):
    """One line per mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load(
    into: type[S],
    *,
    prefix: str,
    environment: Mapping[str, str],
    file: Path | None = None,
    ignore: tuple[str, ...] = (),
) -> S:
    """Read the settings, or raise :class:`BadSettings` with every mistake in it.

    Names in the environment that start with one of ``ignore`` belong to somebody else.
    """
    mistakes: list[str] = []
    values = _from_file(file, into, mistakes) if file else {}
    for name, text in sorted(environment.items()):
        if name.startswith(prefix) and not name.startswith(ignore or ("\0",)):
            path = name.removeprefix(prefix).lower().split("__")
            _put(values, into, path, text, name, mistakes)
    settings = _convert(values, into, mistakes)
    if mistakes or settings is None:
        raise BadSettings(mistakes)
    return settings


def describe(settings: Struct, prefix: str) -> Iterator[tuple[str, str]]:
    """Each effective value by its environment name; secrets stay hidden."""
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        name = f"{prefix}{field.name.upper()}"
        if isinstance(value, Struct):
            yield from describe(value, f"{name}__")
        else:
            yield name, repr(value) if isinstance(value, Secret) else _shown(value)


def names(into: type[Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting's environment name and its default."""
    for field in msgspec.structs.fields(into):
        name = f"{prefix}{field.name.upper()}"
        if nested := _struct_of(field.type):
            yield from names(nested, f"{name}__")
        else:
            yield name, field.default


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _from_file(file: Path, into: type[Struct], mistakes: list[str]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        mistakes.append(f"{file}: {error.strerror}")
        return {}
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{file}: {error}")
        return {}
    _check_keys(values, into, str(file), mistakes)
    return values


def _check_keys(
    values: Mapping[str, Any], into: type[Struct], where: str, mistakes: list[str]
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(into)}
    for key in values:
        if key not in fields:
            mistakes.append(f"{where}: unknown setting `{key}`")
        elif (nested := _struct_of(fields[key])) and isinstance(values[key], dict):
            _check_keys(values[key], nested, f"{where}: {key}", mistakes)


def _put(
    values: dict[str, Any],
    into: type[Struct],
    path: list[str],
    text: str,
    name: str,
    mistakes: list[str],
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(into)}
    head, *rest = path
    nested = _struct_of(fields[head]) if head in fields else None
    if head not in fields or bool(rest) != bool(nested):
        mistakes.append(f"{name}: unknown setting")
    elif nested:
        table = values.setdefault(head, {})
        # Anything but a table in the file is told as a mistake when it is converted.
        if isinstance(table, dict):
            _put(table, nested, rest, text, name, mistakes)
    else:
        kind = str(fields[head])
        values[head] = _listed(text) if "list[" in kind or "tuple[" in kind else text


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _struct_of(kind: Any) -> type[Struct] | None:
    candidates = [kind, *get_args(kind)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Struct)), None)


def _convert(values: dict[str, Any], into: type[S], mistakes: list[str]) -> S | None:
    # One mistake is found per conversion, so the offender is dropped and the rest tried again.
    for _ in range(100):
        try:
            return msgspec.convert(values, into, strict=False, dec_hook=_decode)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$.")
            path = where.rstrip("`").split("[")[0]
            mistakes.append(f"{path}: {message}" if path else message)
            if not path or not _drop(values, path.split(".")):
                return None
    return None


def _drop(values: dict[str, Any], path: list[str]) -> bool:
    *parents, last = path
    for parent in parents:
        values = values.get(parent, {})
    return values.pop(last, None) is not None


def _decode(kind: type[Any], value: Any) -> Any:
    if kind in (Path, Secret) and isinstance(value, str):
        return Path(value).expanduser() if kind is Path else Secret(value)
    raise NotImplementedError(f"a setting cannot be of type {kind}")
