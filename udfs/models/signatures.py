"""Signed model updates: who may change which models.

A control record is signed in its headers, its value as it is: ``ms-key`` names the key, ``ms-signature`` is
base64 of the Ed25519 signature (https://www.rfc-editor.org/rfc/rfc8032) of the scheme, the job's name, the
control topic's name and the value. So what was signed for one job or topic is worth nothing in another.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from udfs.errors import UpdateError
from udfs.records import END, Header

SCHEME = b"modelstream-update-1"
"""What a signature means, and how its bytes are put together."""

_PUBLIC_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END)
_PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,128}" + END)
_UTC = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|[+-]00:00)" + END
)

_Y_BITS = (1 << 255) - 1
_FIELD = (1 << 255) - 19
_SMALL_ORDER = frozenset(
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
    )
)
"""The y of the curve's points of order 1, 2, 4 and 8."""

Headers = Sequence[tuple[str, bytes | None]]


class SigningKey(NamedTuple):
    """A private key and the id by which jobs know its public part."""

    id: str
    private: Ed25519PrivateKey

    @classmethod
    def new(cls, key_id: str) -> Self:
        """A new key.

        Raises:
            ValueError: the id is none.
        """
        return cls(check_key_id(key_id), Ed25519PrivateKey.generate())

    def public(self) -> str:
        """Base64 of the public key's 32 bytes."""
        return b64encode(self.private.public_key().public_bytes_raw()).decode()

    def sign(self, job: str, topic: str, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """The headers that sign an update.

        Args:
            job: the name of the job that shall take it.
            topic: the name of its control topic.
            value: the record's value.
        """
        signature = self.private.sign(signed_bytes(job, topic, value))
        return (Header.KEY, self.id.encode()), (Header.SIGNATURE, b64encode(signature))


class TrustedKey(msgspec.Struct, frozen=True):
    """A key whose updates a job takes.

    Raises:
        ValueError: no id, no public key, or a pattern that no model's name fits.
    """

    id: str
    public: str
    """Base64 of the 32 bytes of an Ed25519 public key."""
    models: tuple[str, ...] = ()
    """Names of the models that it may change, ``*`` and ``?`` as in file names; none: every model."""

    def __post_init__(self) -> None:
        check_key_id(self.id)
        _check_public(self.public_bytes())
        for pattern in self.models:
            if not _PATTERN.match(pattern):
                raise ValueError(f"models: expected a model's name, with * or ? in it, got {_short(pattern)}")

    def public_bytes(self) -> bytes:
        """The public key.

        Raises:
            ValueError: it is no base64.
        """
        try:
            return b64decode(self.public, validate=True)
        except ValueError as error:
            raise ValueError(f"public: not base64: {error}") from error

    def may_change(self, name: str) -> bool:
        """Whether it may change a model."""
        return not self.models or any(fnmatchcase(name, pattern) for pattern in self.models)


class Verifier(msgspec.Struct, frozen=True):
    """What a job asks of the signatures of updates. Plain data: it is sent to the workers."""

    job: str
    topic: str
    """The control topic."""
    keys: Mapping[str, TrustedKey] = {}
    """By id."""
    required: bool = False
    """Whether an update must be signed."""

    def check(self, headers: Headers, value: bytes, name: str) -> bool:
        """Check who signed an update.

        A signature is checked also where none is required, unless there are no keys to check it with.

        Args:
            headers: the control record's.
            value: the control record's.
            name: the name of the model that it changes.

        Returns:
            Whether a trusted key signed it.

        Raises:
            UpdateError: it is not signed as it must be; the text says why.
        """
        if not self.keys and not self.required:
            return False
        key_id = _only(headers, Header.KEY, name)
        signature = _only(headers, Header.SIGNATURE, name)
        if key_id is None and signature is None:
            if self.required:
                raise UpdateError(
                    f"{name}: the update is not signed, and updates.require_signature asks for it; "
                    f"`modelstream models` signs with --key FILE"
                )
            return False
        if key_id is None or signature is None:
            missing = Header.KEY if key_id is None else Header.SIGNATURE
            raise UpdateError(f"{name}: the update is half signed: it has no header {missing}")
        key = self.keys.get(key_id.decode("utf-8", "replace"))
        if key is None:
            raise UpdateError(f"{name}: signed with {_short(key_id)}, which is no key of updates.keys")
        if not self._verifies(key, signature, value):
            raise UpdateError(
                f"{name}: the signature is not that of key {key.id}: the update was altered, or signed for "
                f"another job or control topic (this is job {self.job}, topic {self.topic}), or with "
                f"another key of that id"
            )
        if not key.may_change(name):
            allowed = ", ".join(key.models)
            raise UpdateError(f"{name}: key {key.id} may not change this model, only {allowed}")
        return True

    def _verifies(self, key: TrustedKey, signature: bytes, value: bytes) -> bool:
        public = Ed25519PublicKey.from_public_bytes(key.public_bytes())
        try:
            public.verify(b64decode(signature, validate=True), signed_bytes(self.job, self.topic, value))
        except (InvalidSignature, binascii.Error):
            return False
        return True


ANYBODY = Verifier("", "")
"""Takes every update."""


def signed_bytes(job: str, topic: str, value: bytes) -> bytes:
    """What a signature is made of: scheme, job, control topic and value, each as ``LENGTH:BYTES,``.

    The lengths count bytes, so that no two of such lists are written alike
    (netstrings, https://cr.yp.to/proto/netstrings.txt).
    """
    return b"".join(b"%d:%b," % (len(part), part) for part in (SCHEME, job.encode(), topic.encode(), value))


def check_newer(occurred_on: str | None, last: str | None) -> str:
    """Refuse an old signed update that was sent again.

    Args:
        occurred_on: when the update was made, as it says.
        last: the same of the model's last signed update, None where this is the first.

    Returns:
        ``occurred_on``: the next ``last``.

    Raises:
        UpdateError: it says no time of RFC 3339 in UTC, or none after ``last``.
    """
    if occurred_on is None:
        raise UpdateError("`occurred_on` is missing: a signed update says when it was made")
    moment = _moment(occurred_on)
    if last is not None and moment <= _moment(last):
        raise UpdateError(
            f"occurred_on {occurred_on} is not after {last}, that of the model's last signed update: "
            f"an old update was sent again, or the clock that it was made with is behind"
        )
    return occurred_on


def check_key_id(key_id: str) -> str:
    """A key's id, where it is one.

    Raises:
        ValueError: it has other than letters, digits and ``._-``, or is too long.
    """
    if not _KEY_ID.match(key_id):
        raise ValueError(f"{_short(key_id)} is no key id: up to 128 letters, digits, dots, _ and -")
    return key_id


def _check_public(public: bytes) -> None:
    if len(public) != _PUBLIC_BYTES:
        raise ValueError(f"public: expected {_PUBLIC_BYTES} bytes in base64, got {len(public)}")
    y = int.from_bytes(public, "little") & _Y_BITS
    # Ed25519 lets anybody make signatures that such a key verifies; all zeros, the usual placeholder, is one.
    if y % _FIELD in _SMALL_ORDER:
        raise ValueError("public: not a public key: anybody could sign for it")


def _only(headers: Headers, wanted: str, name: str) -> bytes | None:
    found = [value for header, value in headers if header == wanted]
    if len(found) > 1:
        raise UpdateError(f"{name}: the update has {len(found)} headers {wanted}; expected one")
    return found[0] if found else None


def _moment(text: str) -> tuple[datetime, int]:
    """A time of RFC 3339 in UTC, to the second, and its nanoseconds."""
    found = _UTC.match(text)
    try:
        if found:
            return datetime.fromisoformat(found[1]), int((found[2] or "").ljust(9, "0"))
    except ValueError:
        pass  # the 31st of February
    raise UpdateError(f"occurred_on {_short(text)} is not a time of RFC 3339 in UTC: 2026-11-23T10:00:00Z")


def _short(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return repr(text if len(text) <= 64 else f"{text[:63]}…")
