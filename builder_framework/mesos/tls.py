"""Whose certificates are believed."""

from __future__ import annotations

import ssl
from pathlib import Path

from builder_framework.errors import ConfigError, FieldProblem


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates and names are checked, against `ca_file` or else the system's authorities.

    Raises ConfigError when the file is not one of certificates.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        # OpenSSL's own words name neither the file nor the fault.
        why = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no PEM"
        problem = FieldProblem("mesos_ca_file", f"{ca_file} is no file of certificates: {why}")
        raise ConfigError([problem]) from None
