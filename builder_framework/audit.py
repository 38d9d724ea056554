"""Who did what, and from where: what is written down of each request that changes something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LOGIN_FAILED = "login.failed"
"""Action of a request with a wrong password or token."""


@dataclass(frozen=True)
class Entry:
    """One request. `at`: seconds since the epoch.

    `user`: None when nobody proved to be one; of a failed login the name, if there is such a user:
    others are as likely as not passwords in the wrong field. `token`: id of the token that stood
    for the user. `action`: `build.submit`, `project.put`, … `subject`: the build, project or token
    that it was about. `status`: of the answer; below 400 it was done. `address`: where the
    connection came from.
    """

    at: float
    user: str | None
    token: str | None
    action: str
    subject: str | None
    status: int
    address: str
    request_id: str


@dataclass(frozen=True)
class Query:
    """A page of entries, the newest first; `before`: the `next` of the page before."""

    user: str | None = None
    action: str | None = None
    subject: str | None = None
    limit: int = 50
    before: int | None = None


class Audit(Protocol):
    """The trail."""

    def record(self, entry: Entry) -> None:
        """Durable on return, but for a store that does not answer: then it is in the log. Never
        raises.
        """
        ...

    def page(self, query: Query) -> tuple[list[Entry], int | None]:
        """Entries, and where the next page begins. Raises StoreUnavailableError."""
        ...
