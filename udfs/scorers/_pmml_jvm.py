"""The Java process that PMML4S runs in, and a connection to it.

The jars come with pypmml; the process is py4j's GatewayServer. All PMML models of a Python process share
one. It starts with the first connection and ends with the last; it also ends when Python does, however
that happens, because the end of its standard input is its end.

Why not pypmml's own gateway: its process outlives its last model and lets any local user run code in it.
Why not py4j's client: it waits 40 ms for any answer over 8 KiB (the server's Nagle algorithm waits for a
delayed acknowledgement), and PyFlink patches it to send every Java exception to Flink's JVM.

Source: https://www.py4j.org/py4j_protocol.html, https://github.com/autodeployai/pypmml
"""

import importlib.util
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Final

from py4j import protocol
from py4j.java_gateway import find_jar_path

HEAP_VARIABLE: Final = "MODELSTREAM_PMML_HEAP"
"""The environment variable that bounds the Java heap, in the words of -Xmx."""

_HEAP: Final = "512m"
# One processor: one compiler thread and the serial collector. No performance data: no file in /tmp.
_FLAGS: Final = ("-XX:ActiveProcessorCount=1", "-XX:MaxMetaspaceSize=128m", "-XX:-UsePerfData")
_EXIT_TIMEOUT_S: Final = 5.0
_RECEIVE_BYTES: Final = 1 << 20
_QUICK_ACKNOWLEDGE: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class Reference(str):
    """The id of a Java object that lives until it is released."""


Value = None | bool | int | float | str | Reference


class JavaError(Exception):
    """Java code raised an exception; the text is its class and message, in one line."""


class Jvm:
    """A running Java process.

    Args:
        java: the command that starts Java.
        heap: the heap's bound, in the words of -Xmx.

    Raises:
        OSError: Java can't be started.
    """

    def __init__(self, java: str, heap: str) -> None:
        self.users = 0
        classpath = os.pathsep.join((find_jar_path(), str(_jars() / "*")))
        gateway = ("py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0")
        try:
            self._process = subprocess.Popen(
                (java, f"-Xmx{heap}", *_FLAGS, "-classpath", classpath, *gateway),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for Python, which ends Java when it is done with it
            )
        except OSError as error:
            raise OSError(f"{java} can't be run ({error.strerror}); set JAVA_HOME or PATH") from error
        assert self._process.stdout is not None
        # Java goes on without this pipe: what a model prints has nowhere to go, and can't fill it.
        with self._process.stdout as announcement:
            lines = [announcement.readline().strip().decode() for _ in range(2)]
        if not lines[0].isdigit():
            self.end()
            raise OSError(f"{java} ended at once (heap {heap}, set by {HEAP_VARIABLE})")
        self.port, self.token = int(lines[0]), lines[1]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Connection:
    """Calls Java objects, one call at a time. Java serves each connection in a thread of its own."""

    def __init__(self) -> None:
        self._jvm = _join_jvm()
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._jvm.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._exchange(f"{protocol.AUTH_COMMAND_NAME}\n{self._jvm.token}\n")
        except BaseException:
            _leave_jvm(self._jvm)
            raise

    @property
    def jvm_pid(self) -> int:
        """The id of the Java process."""
        return self._jvm.pid

    def call(self, target: str, method: str, *arguments: Value) -> Value:
        """Call a method of an object (a Reference), or a static method of a class (its name).

        Raises:
            JavaError: the method raised an exception.
            OSError: the Java process is gone.
        """
        receiver = target if isinstance(target, Reference) else protocol.STATIC_PREFIX + target
        return self._request(f"{protocol.CALL_COMMAND_NAME}{receiver}\n{method}\n{_parts(arguments)}")

    def call_for_object(self, target: str, method: str, *arguments: Value) -> Reference:
        """Call a method that returns an object."""
        return _reference(self.call(target, method, *arguments))

    def call_for_strings(self, target: str, method: str) -> list[str]:
        """Call a method that returns an array of strings."""
        array = self.call_for_object(target, method)
        length = self.call("java.lang.reflect.Array", "getLength", array)
        assert isinstance(length, int)
        strings = [str(self.call("java.lang.reflect.Array", "get", array, i)) for i in range(length)]
        self.release(array)
        return strings

    def release(self, reference: Reference) -> None:
        """Let Java free an object."""
        self._request(f"{protocol.MEMORY_COMMAND_NAME}d\n{reference}\n")

    def close(self) -> None:
        """Hang up. The last connection ends the Java process."""
        self._socket.close()
        _leave_jvm(self._jvm)

    def _request(self, command: str) -> Value:
        return self._exchange(command + protocol.END_COMMAND_PART)

    def _exchange(self, command: str) -> Value:
        self._socket.sendall(command.encode())
        answer = self._receive_line()
        status, kind, value = answer[1:2], answer[2:3], answer[3:]
        if status == protocol.SUCCESS:
            return _value(kind, value)
        if status == protocol.ERROR and kind == protocol.REFERENCE_TYPE:
            raise JavaError(self._describe(Reference(value)))
        raise JavaError(protocol.unescape_new_line(value).partition("\n")[0] or "Java refused the call")

    def _receive_line(self) -> str:
        parts: list[bytes] = []
        while not parts or not parts[-1].endswith(b"\n"):
            if _QUICK_ACKNOWLEDGE is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGE, 1)
            part = self._socket.recv(_RECEIVE_BYTES)
            if not part:
                raise ConnectionResetError("the Java process that scores PMML ended")
            parts.append(part)
        return b"".join(parts)[:-1].decode()

    def _describe(self, exception: Reference) -> str:
        text = str(self.call(exception, "toString"))
        self.release(exception)
        name, _, message = text.partition(": ")
        return " ".join(f"{name.rpartition('.')[2]}: {message}".split()).removesuffix(":")


def _reference(value: Value) -> Reference:
    if not isinstance(value, Reference):
        raise JavaError(f"expected an object, got {value!r}")
    return value


def _parts(arguments: tuple[Value, ...]) -> str:
    return "".join(
        f"{protocol.REFERENCE_TYPE}{argument}\n"
        if isinstance(argument, Reference)
        else protocol.get_command_part(argument)
        for argument in arguments
    )


def _value(kind: str, text: str) -> Value:
    match kind:
        case "" | protocol.NULL_TYPE | protocol.VOID_TYPE:
            return None
        case protocol.STRING_TYPE:
            string: str = protocol.unescape_new_line(text)
            return string
        case protocol.INTEGER_TYPE | protocol.LONG_TYPE:
            return int(text)
        case protocol.DOUBLE_TYPE:
            return float(text)
        case protocol.BOOLEAN_TYPE:
            return text == "true"
        case _:
            return Reference(text)


def _jars() -> Path:
    # pypmml's jars alone are needed: importing it would load a second bridge to Java (JPype).
    spec = importlib.util.find_spec("pypmml")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'pypmml'", name="pypmml")
    return Path(spec.origin).parent / "jars"


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


_lock = threading.Lock()
_shared: Jvm | None = None


def _join_jvm() -> Jvm:
    global _shared
    with _lock:
        if _shared is None or not _shared.is_running():
            _shared = Jvm(_java(), os.environ.get(HEAP_VARIABLE, _HEAP))
        _shared.users += 1
        return _shared


def _leave_jvm(jvm: Jvm) -> None:
    global _shared
    with _lock:
        jvm.users -= 1
        if jvm.users:
            return
        jvm.end()
        if _shared is jvm:
            _shared = None
