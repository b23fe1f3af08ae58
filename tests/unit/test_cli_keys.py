"""Private keys in files that nobody else may read, and records signed with them."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from cli.signing import read_key, sign_record, write_key
from jobs.config import JobConfig, load_config
from udfs.errors import ConfigError, UpdateError
from udfs.models.signatures import SigningKey
from udfs.models.updates import ActivateModel, encode_update
from udfs.records import ModelId

UPDATE = encode_update(ActivateModel(ModelId("iris", 2), occurred_on="2026-11-23T10:00:00Z"))


def keys(*arguments: str | Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "keys", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, umask=umask)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The private key of alice."""
    path = tmp_path / "alice.pem"
    write_key(SigningKey.new("alice"), path)
    return path


def trusting(file: Path, *settings: str) -> JobConfig:
    return load_config(None, [f"updates.keys.alice.public={read_key(file).public()}", *settings])


# --- modelstream keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_id", ["alice", "2026-11-23", "null", "1e3", "a.b_c-d"])
def test_a_new_key_says_what_to_paste_into_the_configuration(tmp_path: Path, key_id: str) -> None:
    file, config = tmp_path / "key", tmp_path / "job.yaml"

    done = keys("new", key_id, "--out", file)

    assert (done.returncode, done.stderr) == (
        0,
        f"{file} has the private key: whoever reads it can change models as {key_id}\n",
    )
    config.write_text(done.stdout)
    (trusted,) = load_config(config).updates.trusted().values()
    assert (trusted.id, trusted.public, trusted.models) == (key_id, read_key(file).public(), ())


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_but_its_owner_may_read_a_new_key(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "key"

    assert keys("new", "alice", "--out", file, umask=umask).returncode == 0

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_public_part_can_be_had_again(tmp_path: Path) -> None:
    made = keys("new", "alice", "--out", tmp_path / "key")

    shown = keys("show", tmp_path / "key")

    assert (shown.returncode, shown.stdout, shown.stderr) == (0, made.stdout, "")
    assert yaml.safe_load(shown.stdout)["updates"]["keys"]["alice"]["public"]


def test_a_new_key_is_never_written_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("precious")

    done = keys("new", "alice", "--out", tmp_path / "key")

    assert (done.returncode, done.stdout) == (2, "")
    assert "is there already, and a key is never written over another" in done.stderr
    assert (tmp_path / "key").read_text() == "precious"


def test_a_new_key_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")

    assert keys("new", "alice", "--out", tmp_path / "key").returncode == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "a b", "--out", "key"], "'a b' is no key id"),
        (["new", "alice"], "--out"),
        (["new", "alice", "--out", "nowhere/key"], "nowhere/key: No such file or directory"),
        (["show", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    paths = [
        str(tmp_path / text) if text in ("key", "nowhere/key", "nowhere") else text for text in arguments
    ]

    done = keys(*paths)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "key").exists()


def test_keys_are_made_and_used_without_flink_or_kafka() -> None:
    heavy = ["pyflink", "py4j", "kafka", "fsspec", "httpx"]
    script = f"import sys, cli.keys; print(*(name for name in {heavy!r} if name in sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.stderr) == ("", "")


# --- files -----------------------------------------------------------------------------------------------


def test_a_key_is_read_as_it_was_written(file: Path) -> None:
    key = read_key(file)

    assert key.id == "alice"
    assert file.read_bytes() == b"# modelstream key alice\n" + pem(key.private)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o644, 0o777])
def test_a_key_that_others_may_use_is_not_read(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(ConfigError) as error:
        read_key(file)

    assert str(error.value) == (
        f"{file}: others than its owner may use this private key (mode {mode:04o}): "
        f"chmod 600 {file}, and make a new key if they may have read it"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_that_only_its_owner_may_use_is_read(file: Path, mode: int) -> None:
    file.chmod(mode)

    assert read_key(file).id == "alice"


def pem(private: object, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    written: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined]
    return written


LINE = b"# modelstream key alice\n"
PRIVATE = Ed25519PrivateKey.generate()
NO_KEYS = {
    "empty": (b"", "its first line is not `# modelstream key ID`"),
    "no id": (pem(PRIVATE), "its first line is not `# modelstream key ID`"),
    "id later": (b"\n" + LINE + pem(PRIVATE), "its first line is not `# modelstream key ID`"),
    "two words": (LINE.replace(b"\n", b" b\n") + pem(PRIVATE), "its first line is not"),
    "wrong id": (LINE.replace(b"alice", b"-") + pem(PRIVATE), "'-' is no key id"),
    "no UTF-8": (LINE.replace(b"alice", b"\xff") + pem(PRIVATE), "not a private key: 'utf-8' codec"),
    "no PEM": (LINE, "not a private key: "),
    "cut": (LINE + pem(PRIVATE)[:-40], "not a private key: "),
    "public": (LINE + pem(PRIVATE).replace(b"PRIVATE", b"PUBLIC"), "not a private key: "),
    "encrypted": (LINE + pem(PRIVATE, b"secret"), "not a private key: Password was not given"),
    "other curve": (LINE + pem(generate_private_key(SECP256R1())), "not an Ed25519 key, but "),
    "huge": (LINE + b" " * 10_000_000 + pem(PRIVATE), "not a private key: "),
}


@pytest.mark.parametrize("which", NO_KEYS)
def test_a_file_without_a_private_key_is_told(tmp_path: Path, which: str) -> None:
    content, said = NO_KEYS[which]
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(ConfigError) as error:
        read_key(file)

    assert str(error.value).startswith(f"{file}: not a")
    assert said in str(error.value)


def test_a_key_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        pipe.write(LINE + pem(PRIVATE))
        pipe.close()

        assert read_key(Path(f"/dev/fd/{reading}")).id == "alice"


# --- records ---------------------------------------------------------------------------------------------


def test_a_record_is_signed_for_the_configurations_job(file: Path) -> None:
    config = trusting(file, "name=fraud", "topics.control=fraud.control", "updates.require_signature=true")

    headers = sign_record(config, UPDATE, file)

    assert config.verifier().check(headers, UPDATE, "iris") is True
    with pytest.raises(UpdateError):
        msgspec.structs.replace(config, name="other").verifier().check(headers, UPDATE, "iris")


def test_without_a_key_a_record_is_not_signed(file: Path) -> None:
    assert sign_record(trusting(file), UPDATE, None) == ()


def test_a_record_is_signed_also_where_the_configuration_has_no_keys(file: Path) -> None:
    config = JobConfig()

    headers = sign_record(config, UPDATE, file)

    assert trusting(file).verifier().check(headers, UPDATE, "iris") is True


def test_an_unsigned_record_is_not_made_where_the_job_would_refuse_it(file: Path) -> None:
    with pytest.raises(UpdateError, match="iris: the update is not signed"):
        sign_record(trusting(file, "name=fraud", "updates.require_signature=true"), UPDATE, None)


def test_a_record_is_not_signed_with_a_key_that_the_job_does_not_know(file: Path, tmp_path: Path) -> None:
    write_key(SigningKey.new("bob"), tmp_path / "bob.pem")

    with pytest.raises(UpdateError, match=r"iris: signed with 'bob', which is no key of updates\.keys"):
        sign_record(trusting(file), UPDATE, tmp_path / "bob.pem")


def test_a_record_is_not_signed_with_another_key_of_an_id_that_the_job_knows(
    file: Path, tmp_path: Path
) -> None:
    write_key(SigningKey.new("alice"), tmp_path / "other.pem")

    with pytest.raises(UpdateError, match="or with another key of that id"):
        sign_record(trusting(file), UPDATE, tmp_path / "other.pem")


def test_a_record_is_not_signed_with_a_key_that_may_not_change_the_model(file: Path) -> None:
    with pytest.raises(UpdateError, match=r"iris: key alice may not change this model, only fraud-\*"):
        sign_record(trusting(file, "updates.keys.alice.models=['fraud-*']"), UPDATE, file)
