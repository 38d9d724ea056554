"""What the operator says of the network around the executor: proxies and certificate authorities.

They reach every child and request through the environment, which is how git, Docker, curl and
Python look for them.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from builder_framework.protocol import EngineSpec
from builder_framework.redact import Secret

CA_VARIABLES = ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
"""Where Go, OpenSSL and Python look for authorities; where git does."""

AUTHORITIES = Path("/run/builder-authorities")
"""Where those that this executor trusts are written down."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


def adopt(spec: EngineSpec, folder: Path) -> None:
    """Let everything that this process starts from now on use them."""
    os.environ.update(proxy_arguments(spec.proxies))
    if spec.authorities is not None:
        folder.mkdir(parents=True, exist_ok=True)
        bundle = folder / "authorities.pem"
        bundle.write_text(f"{_system()}\n{spec.authorities}\n")
        os.environ.update(dict.fromkeys(CA_VARIABLES, str(bundle)))


def proxy_arguments(proxies: Mapping[str, Secret]) -> dict[str, str]:
    """Each in lower and upper case: programs look for one or the other.

    They are Docker's predefined build arguments, too, which no image remembers
    (https://docs.docker.com/reference/dockerfile/#predefined-args).
    """
    return {
        spelling: value.reveal()
        for name, value in proxies.items()
        for spelling in (name.lower(), name.upper())
    }


def network_settings() -> dict[str, str]:
    """Of this process' environment, what every child that talks to the network needs."""
    proxies = (spelling for name in PROXY_VARIABLES for spelling in (name, name.upper()))
    return {name: os.environ[name] for name in (*proxies, *CA_VARIABLES) if name in os.environ}


def _system() -> str:
    """The authorities that the image trusts."""
    paths = ssl.get_default_verify_paths()
    file = Path(paths.openssl_cafile)
    for candidate in (file, Path("/etc/ssl/certs/ca-certificates.crt")):
        if candidate.is_file():
            return candidate.read_text()
    return ""
