"""What a `FaultyProxy` can do to its clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """No fault: all bytes pass."""


@dataclass(frozen=True)
class Delay:
    """Answers come, but so much later.

    Attributes:
        seconds: how much.
    """

    seconds: float


@dataclass(frozen=True)
class Refuse:
    """Nothing listens: connections are refused, those that exist are reset at once."""


@dataclass(frozen=True)
class Reset:
    """Connections are reset (RST).

    Attributes:
        after_bytes: so many bytes of the answer pass before; 0: a connection is reset when it is made.
    """

    after_bytes: int = 0


@dataclass(frozen=True)
class Cut:
    """Connections are closed in order (FIN) in the middle of an answer.

    Attributes:
        after_bytes: so many bytes of the answer pass before; None: half of what the server wrote first.
    """

    after_bytes: int | None = None


@dataclass(frozen=True)
class Garbage:
    """Something else answers, and closes the connection. The server isn't asked.

    Attributes:
        answer: what it says.
    """

    answer: bytes = b"\x15\x03\x01\x00\x02\x02\x50 220 this is not the protocol that you speak\r\n"


@dataclass(frozen=True)
class Hang:
    """Connections are made and requests taken; nothing is ever answered on them, also later."""


@dataclass(frozen=True)
class Storm:
    """HTTP/1.1 requests are answered with an error. The server isn't asked.

    Attributes:
        status: the status.
        retry_after: header ``Retry-After``, None: without.
    """

    status: int = 503
    retry_after: str | None = None

    def answer(self) -> bytes:
        """The answer to a request."""
        more = "" if self.retry_after is None else f"Retry-After: {self.retry_after}\r\n"
        body = "no healthy upstream"
        head = f"HTTP/1.1 {self.status} Trouble\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        return f"{head}{more}\r\n{body}".encode()


Fault = Pass | Delay | Refuse | Reset | Cut | Garbage | Hang | Storm
