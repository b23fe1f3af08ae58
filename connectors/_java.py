"""The edge to Java: the classes of `connectors/java`, through PyFlink's gateway. Nothing here is typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyflink import java_gateway
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import load_java_class

from udfs.errors import ConfigError

JAR = Path(__file__).parent / "java" / "target" / "modelstream-flink.jar"
"""Where the build leaves the jar of a checkout."""
_ANY_CLASS = "io.modelstream.flink.Topics"


def jvm() -> Any:
    """Java, as py4j shows it: ``jvm().java.util.ArrayList()``."""
    return get_gateway().jvm


def flink() -> Any:
    """The package of this project's own classes."""
    return jvm().io.modelstream.flink


def add_jar(env: StreamExecutionEnvironment, jar: Path = JAR) -> None:
    """See that the job has its jar: ``flink run -j`` gave it already, else the one of this checkout.

    Raises:
        ConfigError: neither is there.
    """
    try:
        load_java_class(_ANY_CLASS)
    except Py4JJavaError:
        if not jar.is_file():
            raise ConfigError(
                f"{jar} is missing: build it with 'make setup', or give the job its jar with 'flink run -j'"
            ) from None
        env.add_jars(jar.as_uri())


def disconnect() -> None:
    """Call Java no more, where this process has called it."""
    if java_gateway._gateway is not None:
        java_gateway._gateway.shutdown()


def properties(values: Mapping[str, str]) -> Any:
    """Java's Properties with these values."""
    made = jvm().java.util.Properties()
    for name, value in values.items():
        made.setProperty(name, value)
    return made


def root_cause(error: Py4JJavaError) -> tuple[str, str]:
    """What lies at the bottom of an exception: the simple name of its class, and its message."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return cause.getClass().getSimpleName(), cause.getMessage() or ""
