"""Private keys in files, and control records signed with them.

A private key's file is a PEM (PKCS #8, not encrypted) behind a line that says the key's id,
``# modelstream key ID``, so that neither a file's name nor an option has to. Text before a PEM is of no
concern to other programs (https://www.rfc-editor.org/rfc/rfc7468). Nobody but its owner may read the file.
"""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from jobs.config import JobConfig
from udfs.errors import ConfigError
from udfs.models.signatures import SigningKey, check_key_id
from udfs.models.updates import decode_update

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Sign it with this private key, which `modelstream keys new` made."
    ),
]

_ID_LINE = re.compile(rb"# modelstream key (\S+)\r?\n")
_LARGEST_FILE = 64 * 1024


def sign_record(config: JobConfig, value: bytes, key: Path | None) -> tuple[tuple[str, bytes], ...]:
    """The headers that sign a control record.

    Args:
        config: the configuration of the job that shall take it.
        value: the record's value, an update.
        key: the private key's file; None for no signature.

    Returns:
        The headers; none without a key.

    Raises:
        ConfigError: the file has no private key that may be used.
        UpdateError: a job with this configuration would refuse the signature, or the lack of one.
    """
    headers = () if key is None else read_key(key).sign(config.name, config.topics.control, value)
    config.verifier().check(headers, value, decode_update(value).model.name)
    return headers


def write_key(key: SigningKey, file: Path) -> None:
    """Write a private key to a new file that nobody but its owner may read.

    Raises:
        ConfigError: the file is there already.
        OSError: it can't be written.
    """
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{file} is there already, and a key is never written over another") from error
    with os.fdopen(descriptor, "wb") as written:
        written.write(b"# modelstream key %b\n" % key.id.encode() + pem)


def read_key(file: Path) -> SigningKey:
    """Read a private key.

    Raises:
        ConfigError: others may read the file too, or it has no private key as `write_key` writes them.
        OSError: the file can't be read.
    """
    with file.open("rb") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{file}: others than its owner may use this private key (mode {mode:04o}): "
                f"chmod 600 {file}, and make a new key if they may have read it"
            )
        content = opened.read(_LARGEST_FILE)
    named = _ID_LINE.match(content)
    if named is None:
        raise ConfigError(f"{file}: not a private key: its first line is not `# modelstream key ID`")
    try:
        key_id = check_key_id(named[1].decode())
        private = load_pem_private_key(content[named.end() :], password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise ConfigError(f"{file}: not a private key: {error}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{file}: not an Ed25519 key, but {type(private).__name__}")
    return SigningKey(key_id, private)
