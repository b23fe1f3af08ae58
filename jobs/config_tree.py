"""A configuration as the tree of keys and values that was written: a YAML file, and settings over it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from udfs.errors import ConfigError


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group of keys."""


def read_tree(path: Path | None, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Read a file's keys, and apply settings over them.

    Args:
        path: a YAML file, None for no keys.
        settings: ``key=value`` texts; the key is a dotted path, the value YAML.

    Raises:
        ConfigError: an unreadable file, or a setting that is none.
    """
    tree = _read_yaml(path) if path is not None else {}
    for setting in settings:
        _apply_setting(tree, setting)
    return tree


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    tree = _parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    # Beside its own errors the reader lets Python's by: of a date that no calendar has, of `!!int x`.
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        ValueError,
    ) as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")


def _apply_setting(tree: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    steps = [name or bracketed for name, bracketed in _STEP.findall(key)]
    if not separator or not steps:
        raise ConfigError(f"--set {setting}: expected key=value")
    value = _parse_yaml(text, key)
    for step in steps[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{key}: {step} is a value, not a group of keys")
    tree[steps[-1]] = value


def with_path_first(message: str) -> str:
    """msgspec says ``Expected `int`, got `str` - at `$.batching.max_events```; the path should lead."""
    text, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        return f"{path}{'.' if path else ''}{unknown[1]}: unknown key"
    return f"{path}: {text[0].lower()}{text[1:]}" if path else text
