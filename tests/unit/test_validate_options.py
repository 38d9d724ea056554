"""What a build's options may be."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder_framework import validate_options as options
from builder_framework.errors import InvalidValueError


@pytest.mark.parametrize(
    ("check", "given", "normal"),
    [
        (options.mount_id, "npm_token.1", "npm_token.1"),
        (options.secret_value, "a\0b", "a\0b"),
        (options.host_name, "DB.Example_1", "db.example_1"),
        (options.ip_address, "FE80::0001", "fe80::1"),
        (options.platform, "Linux/ARM/v7", "linux/arm/v7"),
        (options.registry, "index.docker.io", "docker.io"),
        (options.registry, "Registry.example:5000", "registry.example:5000"),
        (options.registry, "localhost", "localhost"),
        (options.timestamp, "0", "0"),
        (options.timestamp, "source", "source"),
    ],
)
def test_good_values(check: Callable[[str], str], given: str, normal: str) -> None:
    assert check(given) == normal
    assert check(normal) == normal


@pytest.mark.parametrize(
    ("check", "given"),
    [
        (options.mount_id, ""),
        (options.mount_id, "-a"),
        (options.mount_id, "a=b"),
        (options.mount_id, "a\n"),
        (options.secret_value, "\ud800"),
        (options.host_name, "a..b"),
        (options.host_name, "a" * 254),
        (options.ip_address, "10.0.0.256"),
        (options.platform, "canary"),
        (options.platform, "linux/amd64,linux/arm64"),
        (options.registry, "canary"),
        (options.registry, "example.org/x"),
        (options.registry, "example.org:0"),
        (options.timestamp, "-1"),
        (options.timestamp, "01"),
    ],
)
def test_bad_values_are_not_repeated(check: Callable[[str], str], given: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        check(given)
    assert len(given) < 3 or given not in caught.value.message


@pytest.mark.parametrize("size", [0, options.MAX_SHM_MIB + 1])
def test_shm_sizes_have_limits(size: int) -> None:
    with pytest.raises(InvalidValueError):
        options.shm_size(size)
    assert options.shm_size(64) == 64


def keygen(folder: Path, passphrase: str, *more: str) -> str:
    path = folder / "key"
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *more]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_text()


KINDS = [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")]


@pytest.mark.parametrize("kind", KINDS, ids=[" ".join(kind) for kind in KINDS])
def test_private_keys(tmp_path: Path, kind: tuple[str, ...]) -> None:
    """As people paste them; but nobody is there to type a passphrase."""
    key = keygen(tmp_path, "", *kind)
    assert options.private_key(key) == key
    assert options.private_key(key.strip().replace("\n", "\r\n")) == key
    with pytest.raises(InvalidValueError, match="passphrase"):
        options.private_key(keygen(tmp_path, "canary-s3cret", *kind))


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519 AAAA me@host",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nQUJD\n-----END PUBLIC KEY-----",
    ],
)
def test_what_is_no_private_key(text: str) -> None:
    with pytest.raises(InvalidValueError, match="whole text"):
        options.private_key(text)
