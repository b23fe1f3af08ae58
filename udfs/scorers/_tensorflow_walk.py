"""What a run of a TensorFlow graph can reach, and where the paths of the files that it reads come from.

TensorFlow gives a run the paths of the model's own files (its assets, its checkpoint) in the place of certain
nodes. From there a path may pass through identities, through a variable that nothing else can change, and
into a function as an argument; any other path was chosen by whoever made the model.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any, NamedTuple

from tensorflow.core.framework.types_pb2 import DT_RESOURCE
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from udfs.errors import ModelLoadError

RESTORE = "RestoreV2"
TABLES_FROM_FILES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_FILE_INPUT = {**dict.fromkeys(TABLES_FROM_FILES, 1), RESTORE: 0}
"""Which input names the file that is read."""
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_HOLDERS = frozenset({"Const", "Placeholder", "PlaceholderWithDefault"})
"""What TensorFlow puts a path in the place of."""
_PLACE = b"loc:@"
_MOST_NODES = 5_000_000
"""Nodes of a function in which all that it calls is written out, as TensorFlow does."""
_Nodes = Mapping[str, Any]


class GraphWalk:
    """Finds what a run of a graph can reach."""

    def __init__(self, graph: MetaGraphDef) -> None:
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        bodies = [function.node_def for function in graph.graph_def.library.function]
        variables = Counter(map(_variable, chain(graph.graph_def.node, *bodies)))
        self._path_of_variable = {} if variables["Const"] else dict(self._paths_of_variables(variables))

    def reached_from(self, tensors: Iterable[str], own_files: Collection[str] = ()) -> list[Any]:
        """Every node that running these tensors may run.

        Args:
            tensors: what is run.
            own_files: the nodes in whose place the run gets paths of the model's own files.

        Raises:
            ModelLoadError: a table or a variable is filled from a file that is not the model's own.
        """
        found: dict[str, Any] = {}
        waiting = [node_name(tensor) for tensor in tensors if tensor]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._nodes:
                continue
            found[name] = self._nodes[name]
            waiting += map(node_name, found[name].input)
        # A path comes in place of one tensor: a node with several would have others beside it.
        given = {name for name in own_files if name in found and found[name].op in _HOLDERS}
        reached = list(found.values())
        seen: set[_Call] = set()
        calls = list(self._calls(reached, given))
        while calls:
            call = calls.pop()
            if call in seen or call.function not in self._functions:
                continue
            seen.add(call)
            body = self._functions[call.function].node_def
            calls += self._calls(body, call.own_files)
            reached += body
        return reached

    def names_reached_from(self, tensors: Iterable[str]) -> tuple[set[str], set[str]]:
        """The names of the nodes and of the functions that a graph with these tensors can't do without.

        Args:
            tensors: what is run or fed.
        """
        nodes: set[str] = set()
        functions: set[str] = set()
        waiting = [node_name(tensor) for tensor in tensors if tensor]
        bodies: list[Any] = []
        while waiting or bodies:
            if waiting:
                name = waiting.pop()
                if name in nodes or name not in self._nodes:
                    continue
                nodes.add(name)
                node = self._nodes[name]
                waiting += map(node_name, (*node.input, *_placed_with(node)))
            else:
                node = bodies.pop()
            for name in set(self._called(node)) - functions:
                if name in self._functions:
                    functions.add(name)
                    bodies += self._functions[name].node_def
        return nodes, functions

    def check_functions(self) -> None:
        """Refuse functions that TensorFlow could not write out: calling themselves or multiplying.

        Raises:
            ModelLoadError: it says which.
        """
        calls = {
            name: [one for node in function.node_def for one in self._called(node) if one in self._functions]
            for name, function in self._functions.items()
        }
        sizes: dict[str, int] = {}
        try:
            for name in TopologicalSorter(calls).static_order():
                sizes[name] = len(self._functions[name].node_def) + sum(sizes[one] for one in calls[name])
        except CycleError as error:
            raise ModelLoadError(
                f"the function {error.args[1][0]!r} calls itself, which is refused"
            ) from error
        largest = max(sizes, key=sizes.__getitem__, default="")
        if sizes.get(largest, 0) > _MOST_NODES:
            raise ModelLoadError(f"the function {largest!r}, written out, has more than {_MOST_NODES} nodes")

    def _calls(self, body: Collection[Any], own_files: Collection[str]) -> Iterator["_Call"]:
        """The calls in a graph or a function, which must read no file that is not the model's own."""
        nodes = {node.name: node for node in body}
        for node in body:
            place = _FILE_INPUT.get(node.op)
            if place is not None and self._origin([*node.input, "", ""][place], nodes, own_files) is None:
                raise ModelLoadError(
                    f"operation {node.op} (node {node.name!r}) is refused: its file is not the model's own"
                )
            for name in self._called(node):
                yield _Call(name, frozenset(self._own_file_arguments(name, node, nodes, own_files)))

    def _called(self, node: Any) -> Iterator[str]:
        """The functions that a node calls: by its operation, or by an attribute."""
        if node.op in self._functions:
            yield node.op
        for attribute in node.attr.values():
            if attribute.func.name:
                yield attribute.func.name
            yield from (one.name for one in attribute.list.func)

    def _own_file_arguments(
        self, name: str, node: Any, nodes: _Nodes, own_files: Collection[str]
    ) -> Iterator[str]:
        """The arguments of a called function that are paths of the model's own files."""
        function = self._functions.get(name)
        if function is None or not (node.op in _CALLS or node.op == name):
            return
        arguments = function.signature.input_arg
        if any(argument.number_attr or argument.type_list_attr for argument in arguments):
            return  # an argument that is several inputs
        for argument, tensor in zip(arguments, node.input, strict=False):
            if self._origin(tensor, nodes, own_files) is not None:
                yield argument.name

    def _origin(self, tensor: str, nodes: _Nodes, own_files: Collection[str]) -> str | None:
        """Which of the model's own files a tensor is the path of; None for any other tensor."""
        passed = set()
        name = node_name(tensor)
        while name not in own_files:
            node = nodes.get(name)
            if node is None or name in passed or not node.input:
                return None
            passed.add(name)
            name = node_name(node.input[0])
            if node.op == "ReadVariableOp" and nodes.get(name) is self._nodes.get(name):
                name = self._path_of_variable.get(name, "")
            elif node.op != "Identity":
                return None
        return name

    def _paths_of_variables(self, variables: Mapping[str | None, int]) -> Iterator[tuple[str, str]]:
        """The variables that hold what one placeholder is given and can hold nothing else."""
        users: dict[str, list[Any]] = {}
        for node in self._nodes.values():
            for tensor in node.input:
                if not tensor.startswith("^"):
                    users.setdefault(node_name(tensor), []).append(node)
        for name, node in self._nodes.items():
            if node.op != "VarHandleOp" or variables[_variable(node)] != 1:
                continue
            sources = set()
            for user in users.get(name, ()):
                if user.op == "AssignVariableOp" and len(user.input) > 1 and node_name(user.input[0]) == name:
                    sources.add(node_name(user.input[1]))
                elif user.op not in ("ReadVariableOp", "VarIsInitializedOp"):
                    sources.add("")
            # A constant would keep its own value in a run that is given no path; a placeholder fails there.
            source = sources.pop() if len(sources) == 1 else ""
            if source in self._nodes and self._nodes[source].op == "Placeholder":
                yield name, source


class _Call(NamedTuple):
    """A function, and which of its arguments are paths of the model's own files."""

    function: str
    own_files: frozenset[str]


def node_name(tensor: str) -> str:
    """The node that a tensor, or a control input, is of."""
    return tensor.lstrip("^").partition(":")[0]


def _placed_with(node: Any) -> Iterator[str]:
    """The nodes on whose device a node is to be, which must be there with it."""
    if "_class" in node.attr:
        for place in node.attr["_class"].list.s:
            if place.startswith(_PLACE):
                yield place.removeprefix(_PLACE).decode("utf-8", "replace")


def _variable(node: Any) -> str | None:
    """What tells a variable from others; "Const" for a handle that may be of any."""
    if node.op == "VarHandleOp":
        return f"/{node.attr['shared_name'].s.decode('utf-8', 'replace') or node.name}"
    return "Const" if node.op == "Const" and node.attr["dtype"].type == DT_RESOURCE else None
