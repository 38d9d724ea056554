"""`builder serve`: hand over to the framework, importing nothing that gevent must patch first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def serve(arguments: Sequence[str]) -> int:
    """Run until told to stop. Returns the process's exit code."""
    # argparse, because click and what it imports would come before gevent's patches.
    parser = argparse.ArgumentParser(
        prog="builder serve",
        description="Run the framework: scheduler and HTTP API in one process. Settings come from "
        "the environment (BUILDER_*) and, below it, from a file.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    options = parser.parse_args(arguments)
    from builder_framework.__main__ import main  # noqa: PLC0415

    return main(options.config)
