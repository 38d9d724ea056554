"""`python -m builder_framework`: patch the standard library for gevent first, then run."""

from __future__ import annotations

import sys
from pathlib import Path


def main(config_file: Path | None = None) -> int:
    """Run the framework until it is told to stop; its exit code."""
    from gevent import monkey  # noqa: PLC0415

    # Before anything imports sockets, threads or TLS.
    monkey.patch_all()
    from builder_framework import app  # noqa: PLC0415

    return app.run(config_file)


if __name__ == "__main__":
    sys.exit(main())
