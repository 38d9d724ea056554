"""A small certificate authority of the cluster's own, for what speaks TLS with a custom CA.

Keys and certificates are made once per state directory by openssl(1), for ten years.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from devcluster.engine import find_program
from devcluster.errors import ClusterError

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
_DAYS = ("-days", "3650")


class Authority:
    """The authority. `certificate`: what clients have to trust (PEM)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = directory / "ca.key"
        self.certificate = directory / "ca.crt"

    def issue(self, address: str) -> tuple[Path, Path]:
        """Certificate and private key of a server at this IP address (PEM), made when missing."""
        self._make()
        certificate = self._directory / f"{address}.crt"
        key, request, extensions = (certificate.with_suffix(f".{x}") for x in ("key", "csr", "ext"))
        if not certificate.exists():
            extensions.write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n")
            subject = ("-subj", f"/CN={address}")
            _openssl("req", *_KEY, "-keyout", key, "-out", request, *subject)
            signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
            words = ("-req", "-in", request, *signer, *_DAYS, "-extfile", extensions)
            _openssl("x509", *words, "-out", certificate)
        return certificate, key

    def _make(self) -> None:
        if not self.certificate.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            words = ("-x509", *_KEY, *_DAYS, "-subj", "/CN=devcluster", "-keyout", self._key)
            usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
            _openssl("req", *words, *usage, "-out", self.certificate)


def _openssl(*arguments: str | Path) -> None:
    # umask: private keys are written by it; a half-made certificate is made again.
    argv = [find_program("openssl"), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, umask=0o077)
    if done.returncode:
        raise ClusterError(f"`openssl {arguments[0]}` failed: {done.stderr.strip()}")
