"""titus, the PFA engine in Python, made to run on Python 3.11 beside PyFlink's avro.

titus wants ``avro-python3``, which would overwrite PyFlink's ``avro``, and ``inspect.getargspec`` and
``numpy.int``, which are no more. Its modules are loaded with builtins of their own whose ``__import__``
hands them what they want. Nothing that another module sees is changed: there is only one more finder on
``sys.meta_path``, which answers for ``titus`` alone.

Their ``exec`` is another one too: the Python that titus generates from a document is checked before it runs.

Source: https://github.com/animator/titus2
"""

import builtins
import collections
import importlib
import importlib.abc
import importlib.machinery
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, Final

import avro.datafile
import avro.io
import numpy

from udfs.scorers import _titus_avro
from udfs.scorers._titus_code import run_generated_code

_MOST_TYPES: Final = 1000
_ArgSpec = collections.namedtuple("_ArgSpec", "args varargs keywords defaults")


def _getargspec(function: Callable[..., Any]) -> _ArgSpec:
    return _ArgSpec(*inspect.getfullargspec(function)[:4])


def _module(name: str, members: Mapping[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


class _Numpy(types.ModuleType):
    int = int

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)


_STAND_INS: Final = {
    "avro": _module("avro", {"schema": _titus_avro, "io": avro.io, "datafile": avro.datafile}),
    "avro.schema": _titus_avro,
    "avro.io": avro.io,
    "avro.datafile": avro.datafile,
    "inspect": _module("inspect", {**vars(inspect), "getargspec": _getargspec}),
    "numpy": _Numpy("numpy"),
}


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    if level == 0 and name in _STAND_INS:
        return _STAND_INS[name if fromlist else name.partition(".")[0]]
    return builtins.__import__(name, globals, locals, fromlist, level)


def _remember_types(read_type: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """titus reads a type's JSON for every comparison of a sort; so each is read once."""
    types: dict[str, Any] = {}

    def read_once(node: Any) -> Any:
        text = repr(node)
        found = types.get(text)
        if found is None:
            if len(types) >= _MOST_TYPES:
                types.clear()
            found = types[text] = read_type(node)
        return found

    return read_once


class _Loader(SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        own = {**vars(builtins), "__import__": _import}
        if module.__name__ == "titus.genpy":
            own["exec"] = run_generated_code
        vars(module)["__builtins__"] = own
        super().exec_module(module)
        if module.__name__ == "titus.datatype":
            vars(module)["jsonNodeToAvroType"] = _remember_types(vars(module)["jsonNodeToAvroType"])

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> types.CodeType:  # type: ignore[override]
        with warnings.catch_warnings():
            # titus has "\s" and the like in its strings, which Python deprecates as it compiles them.
            warnings.simplefilter("ignore", DeprecationWarning)
            return super().source_to_code(data, path, _optimize=_optimize)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "titus":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())

genpy = importlib.import_module("titus.genpy")
datatype = importlib.import_module("titus.datatype")
errors = importlib.import_module("titus.errors")
pfaast = importlib.import_module("titus.pfaast")
reader = importlib.import_module("titus.reader")
