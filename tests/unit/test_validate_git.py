"""Keys, known hosts and hosts: real ones pass, everything else is told in a sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder_framework import validate_git
from builder_framework.errors import InvalidValueError


def key(tmp_path: Path, *options: str) -> str:
    """A new private key, as ssh-keygen writes it with these options."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), *options], check=True)
    return path.read_text()


KINDS = [
    ("-t", "ed25519"),
    ("-t", "rsa", "-b", "2048"),
    ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ("-t", "rsa", "-b", "2048", "-m", "PKCS8"),
    ("-t", "ecdsa", "-m", "PEM"),
]


@pytest.mark.parametrize("options", KINDS, ids=" ".join)
def test_private_keys(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Whatever happened to their line ends on the way."""
    text = key(tmp_path, *options, "-N", "")
    assert validate_git.private_key(text) == text
    assert validate_git.private_key(f"\r\n{text.strip()}".replace("\n", "\r\n")) == text


@pytest.mark.parametrize("options", KINDS, ids=" ".join)
def test_a_passphrase_is_told(tmp_path: Path, options: tuple[str, ...]) -> None:
    text = key(tmp_path, *options, "-N", "a passphrase")
    with pytest.raises(InvalidValueError, match="passphrase"):
        validate_git.private_key(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no private key"),
        ("x", "no private key"),
        ("ssh-ed25519 AAAAC3Nza me@here", "public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "public key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no private key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "PuTTY"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "no private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nA\n-----END OPENSSH PRIVATE KEY-----", "damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "damaged"),
        ("-----BEGIN PRIVATE KEY-----\n\0\n-----END PRIVATE KEY-----", "no private key"),
        ("-----BEGIN PRIVATE KEY-----\n" + "A" * 20000, "longer"),
    ],
)
def test_what_is_no_private_key(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words) as caught:
        validate_git.private_key(text)
    assert "AAAA" not in caught.value.message


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGV4"


@pytest.mark.parametrize(
    "text",
    [
        f"host ssh-ed25519 {KEY}",
        f"host,10.0.0.1 ssh-ed25519 {KEY}= a comment",
        f"[host]:2222 ssh-rsa {KEY}\n\n# host:22 SSH-2.0\n*.example.org,!x ssh-rsa {KEY}\n",
        f"|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= ssh-rsa {KEY}",
        f"@cert-authority *.example.org ssh-ed25519 {KEY}",
        f"@revoked\thost\tssh-ed25519\t{KEY}",
        f"host sk-ssh-ed25519@openssh.com {KEY}\r\n",
    ],
)
def test_known_hosts(text: str) -> None:
    lines = [line.strip() for line in text.strip().splitlines()]
    assert validate_git.known_hosts(text) == "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no host's key"),
        ("# only a comment\n", "no host's key"),
        ("host\n", "line 1"),
        (f"host {KEY}", "line 1"),
        (f"host ssh-ed25519 {KEY}\nssh-ed25519 {KEY}", "line 2"),
        (f"host ssh-ed25519 {KEY} \0", "line 1"),
        (f"@other host ssh-ed25519 {KEY}", "line 1"),
        ("x" * 100_000, "longer"),
    ],
)
def test_what_is_no_known_hosts(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        validate_git.known_hosts(text)


@pytest.mark.parametrize("text", ["Git.Example.org", "10.0.0.1:8090", "h:1", "a-b_c.d"])
def test_hosts_of_logins(text: str) -> None:
    assert validate_git.login_host(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "https://h", "u@h", "h/x", "h:", "h:0", "h:99999", "-h", "h h", "h\n", "*", "h?x"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(InvalidValueError):
        validate_git.login_host(text)


def test_depths() -> None:
    assert [validate_git.depth(n) for n in (0, 1, validate_git.MAX_DEPTH)][:2] == [0, 1]
    for commits in (-1, validate_git.MAX_DEPTH + 1):
        with pytest.raises(InvalidValueError):
            validate_git.depth(commits)
