"""The servers that credentials may be shown to, as the configuration writes them."""

import ipaddress
import re
from typing import NamedTuple, Self

_PATTERN = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:\*\.)?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*)\.?(?::(?P<port>[0-9]{1,5}))?"
)
_LARGEST_PORT = 65535


class ServerPattern(NamedTuple):
    """``HOST``, ``HOST:PORT``, or ``*.DOMAIN`` for every host below a domain; without a port any."""

    host: str
    """In lower case; of IPv6 without brackets."""
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: it is none.
        """
        found = _PATTERN.fullmatch(text)
        port = None if found is None or found["port"] is None else int(found["port"])
        if found is None or (port is not None and not 1 <= port <= _LARGEST_PORT):
            raise ValueError(f"expected HOST, HOST:PORT or *.DOMAIN, without a scheme or path, got {text!r}")
        return cls(found["host"].strip("[]").lower(), port)

    def matches(self, host: str, port: int | None) -> bool:
        """Whether it is written for a server; hosts in lower case."""
        if self.port not in (None, port):
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and not host.startswith(".")
        return host == self.host or _is_same_address(host, self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: ``localhost``, or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False
