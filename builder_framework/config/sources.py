"""Where settings come from: a file, the environment, and files that the environment names."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from builder_framework.config.values import PREFIX
from builder_framework.errors import ConfigError, FieldProblem

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover (another Python)
    import tomli as tomllib

log = logging.getLogger("builder_framework.config")

# Of the command line client and the tests; they may stand in the same environment.
_FOREIGN = frozenset(
    {
        "BUILDER_URL",
        "BUILDER_CONFIG",
        "BUILDER_GIT_USERNAME",
        "BUILDER_GIT_PASSWORD",
        "BUILDER_REGISTRY_USERNAME",
        "BUILDER_REGISTRY_PASSWORD",
        "BUILDER_CACHE_DIR",
        "BUILDER_TEST_KEEP",
        "BUILDER_TEST_INDEX",
        "BUILDER_FAILPOINT",
        "BUILDER_FAILPOINTS_ALLOWED",
    }
)
_SECRETS = frozenset(
    {
        "password",
        "mesos_master",
        "mesos_secret",
        "database_url",
        "secret_key",
        "webhooks",
        "webhook_secret",
        "marathon_login",
        "http_proxy",
        "https_proxy",
    }
)
"""Settings that may also be given as `BUILDER_NAME_FILE`, a file that holds the value."""


def values(
    environment: Mapping[str, str], file: Path | None, known: Collection[str]
) -> dict[str, Any]:
    """Every setting that was given, of those that are `known`. Raises ConfigError."""
    path = file or (
        Path(environment["BUILDER_CONFIG"]) if "BUILDER_CONFIG" in environment else None
    )
    found = _from_file(path) if path else {}
    found.update(_from_environment(environment, known))
    return found


def near(name: str, known: Collection[str]) -> str | None:
    """What may have been meant."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([FieldProblem(str(path), f"cannot be read: {error}")]) from None
    return values


def _from_environment(environment: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in _FOREIGN:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            values[name] = value
        elif name.endswith("_file") and name.removesuffix("_file") in _SECRETS:
            values[name.removesuffix("_file")] = _secret_from(variable, Path(value))
        else:
            meant = near(name, known)
            hint = f"; did you mean {PREFIX}{meant.upper()}?" if meant else ""
            log.warning("%s is no setting of this version%s", variable, hint)
    return values


def _secret_from(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError([FieldProblem(variable, f"cannot be read: {error.strerror}")]) from None
