"""JSON Schemas of the records, from their structs. ``python -m devtools.schemas`` writes docs/schemas."""

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from devtools import ROOT
from udfs.models.updates import SECRETS, ModelUpdate
from udfs.records import Event, ModelStatus, Prediction
from udfs.remotes import REMOTES

FOLDER = ROOT / "docs" / "schemas"
RECORDS: dict[str, Any] = {
    "event": Event,
    "model-status": ModelStatus,
    "model-update": ModelUpdate,
    "prediction": Prediction,
}
"""What has a schema, by its file's name."""

_RULES: dict[str, dict[str, Any]] = {
    "Artifact": {
        "oneOf": [
            {"required": ["inline"], "properties": {"inline": {"type": "string"}}},
            {"required": ["uri"], "properties": {"uri": {"type": "string"}}},
        ]
    },
    "PublishModel": {
        "if": {"properties": {"format": {"enum": sorted(REMOTES)}}},
        "then": {
            "properties": {
                "artifact": {"type": "null"},
                "execution": {"const": "offload"},
                "options": {"propertyNames": {"not": {"enum": sorted(SECRETS)}}},
            }
        },
        "else": {"required": ["artifact"], "properties": {"artifact": {"type": "object"}}},
    },
    "RetireModel": {
        "oneOf": [
            {
                "properties": {
                    "all": {"const": False},
                    "model": {"required": ["version"], "properties": {"version": {"type": "integer"}}},
                }
            },
            {
                "required": ["all"],
                "properties": {
                    "all": {"const": True},
                    "model": {"properties": {"version": {"type": "null"}}},
                },
            },
        ]
    },
    "Event": {"required": ["data"]},
}
"""Rules that the structs keep in code, where msgspec's schemas can't see them."""


def schemas() -> dict[str, bytes]:
    """The schemas' texts (JSON Schema 2020-12), by their file's name."""
    return {f"{name}.json": _schema(kind) for name, kind in RECORDS.items()}


def write_schemas(folder: Path) -> None:
    """Write the schemas, and remove those of records that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    written = schemas()
    for old in folder.glob("*.json"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_bytes(text)


def _schema(kind: Any) -> bytes:
    schema = msgspec.json.schema(kind, schema_hook=_any_value)
    for name, struct in schema["$defs"].items():
        struct["description"] = inspect.cleandoc(struct["description"])
        struct.update(_RULES.get(name, {}))
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return msgspec.json.format(msgspec.json.encode({**dialect, **schema}), indent=2) + b"\n"


def _any_value(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(kind)


if __name__ == "__main__":
    write_schemas(FOLDER)
    sys.stdout.write(f"wrote {', '.join(schemas())} to {FOLDER.relative_to(ROOT)}\n")
