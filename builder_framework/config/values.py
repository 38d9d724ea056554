"""The types of settings, and what they share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from builder_framework.errors import InvalidValueError
from builder_framework.redact import Secret

PREFIX = "BUILDER_"
DAY = 86400.0


def comma_separated(value: Any) -> Any:
    """A text as the parts between its commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(comma_separated)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Storage:
    """`url` as SQLAlchemy reads it; `key`: the setting `secret_key`, not checked yet."""

    url: str = field(repr=False)
    data_dir: Path
    key: Secret | None


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Lets pydantic tell what our own grammars say."""
    try:
        yield
    except InvalidValueError as error:
        raise ValueError(error.message) from None
