"""Asking again, where that does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from builder_framework.client.errors import UNCHANGED, ApiError, ConnectionFailedError

T = TypeVar("T")

LONGEST_WAIT_SECONDS = 30.0
"""Whatever the server asks for with Retry-After."""


def patiently(
    call: Callable[[], T],
    waits: Sequence[float],
    *,
    repeatable: bool,
    note: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `call` returns, which is tried once more after each of `waits` (seconds).

    `repeatable`: the call may have happened, and may happen twice. Otherwise it is only tried again
    when the server said that nothing was done. Raises what the last try did.
    """
    for least in waits:
        try:
            return call()
        except (ApiError, ConnectionFailedError) as error:  # noqa: PERF203
            if not _again(error, repeatable=repeatable):
                raise
            asked = error.retry_after if isinstance(error, ApiError) else None
            wait = min(max(least, asked or 0.0), LONGEST_WAIT_SECONDS)
            note(f"{error.message}; trying again in {wait:g} s")
            sleep(wait)
    return call()


def _again(error: ApiError | ConnectionFailedError, *, repeatable: bool) -> bool:
    if isinstance(error, ApiError):
        return error.status in UNCHANGED or (repeatable and error.temporary)
    return repeatable
