"""A look at the Python that titus generates from a PFA document, before any of it runs.

Nothing of a document should get into that code but as a literal, and `udfs.scorers._pfa_document` sees to it.
This is the second wall: the code may hold only the syntax and the attributes that titus writes, and runs
with few builtins, so that text which got through the first would still reach no file, process or module.
"""

import ast
import builtins
from math import inf, nan
from typing import Any, Final

from udfs.errors import ModelLoadError

_SYNTAX: Final = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.Lambda,
    ast.arguments,
    ast.arg,
    # statements
    ast.Assign,
    ast.AugAssign,
    ast.Delete,
    ast.Expr,
    ast.ExceptHandler,
    ast.For,
    ast.If,
    ast.Pass,
    ast.Raise,
    ast.Return,
    ast.Try,
    # expressions
    ast.Attribute,
    ast.BinOp,
    ast.BoolOp,
    ast.Call,
    ast.Compare,
    ast.Constant,
    ast.Dict,
    ast.IfExp,
    ast.List,
    ast.Name,
    ast.Set,
    ast.Slice,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
    ast.expr_context,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)
_ATTRIBUTES: Final = frozenset(
    [
        "actionsFinished",
        "actionsStarted",
        "begin",
        "callGraph",
        "cells",
        "config",
        "emit",
        "end",
        "engine",
        "f",
        "get",
        "initialize",
        "input",
        "inputType",
        "instance",
        "let",
        "log",
        "maybeRestoreBackup",
        "maybeSaveBackup",
        "merge",
        "metadata",
        "name",
        "options",
        "output",
        "outputType",
        "parser",
        "pooldel",
        "pools",
        "rand",
        "set",
        "tally",
        "update",
        "value",
        "values",
        "version",
        "zero",
    ]
)
_METHODS: Final = frozenset(["__init__", "initialize", "begin", "action", "merge", "end", "pooldel"])
_BUILTINS: Final = (
    "Exception",
    "KeyError",
    "__build_class__",
    "abs",
    "bool",
    "float",
    "int",
    "len",
    "max",
    "min",
    "object",
    "round",
    "set",
    "str",
)


def run_generated_code(code: str, names: dict[str, Any]) -> None:
    """Define a generated engine class. It is what titus has for ``exec``.

    Args:
        code: the text of one class.
        names: what the code may use; the class is added.

    Raises:
        ModelLoadError: the code has something in it that titus does not generate.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if not isinstance(node, _SYNTAX) or not _is_expected(node):
            raise ModelLoadError(
                f"the code generated from the document has an unexpected {type(node).__name__} in it"
            )
    # A number beyond the doubles is written as inf.
    names["__builtins__"] = {"inf": inf, "nan": nan, **{name: getattr(builtins, name) for name in _BUILTINS}}
    names["__name__"] = "udfs.scorers.pfa.engine"
    exec(compile(tree, "<pfa>", "exec"), names)


def _is_expected(node: ast.AST) -> bool:
    match node:
        case ast.Module(body=body):
            return len(body) == 1 and isinstance(body[0], ast.ClassDef)
        case ast.ClassDef(bases=[ast.Name(id="PFAEngine")], keywords=[], decorator_list=[], body=body):
            return all(isinstance(item, ast.FunctionDef) for item in body)
        case ast.ClassDef():
            return False
        case ast.FunctionDef(name=name, decorator_list=decorators):
            return name in _METHODS and not decorators
        case ast.Attribute(value=ast.Name(id="math"), attr=attribute):
            return not attribute.startswith("_")
        case ast.Attribute(attr=attribute):
            return attribute in _ATTRIBUTES
        case ast.Name(id=name):
            return not name.startswith("_")
        case _:
            return True
