"""The `builder` command. Light on purpose: `serve` must patch gevent in before anything else.

Command modules are imported when their command runs; only `builder --help` imports them all.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:2] == ["serve"]:
        # It monkey-patches: requests, urllib3 and ssl must not be there yet.
        from builder_framework.cli.serve import serve  # noqa: PLC0415

        sys.exit(serve(sys.argv[2:]))
    from builder_framework.cli.commands import cli  # noqa: PLC0415

    cli(prog_name="builder")
