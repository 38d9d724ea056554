"""Query parameters and headers of the v1 API, checked: all faults of a request at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from werkzeug.datastructures import MultiDict

from api.described import Parameter
from api.parsing import suggestion
from builder_framework import validate
from builder_framework.domain import words
from builder_framework.domain.states import State
from builder_framework.errors import FieldProblem, InvalidInputError, InvalidValueError
from builder_framework.ports import ListQuery

DEFAULT_PAGE = 50
MAX_PAGE = 200
MAX_TEXT = 2048
MAX_OFFSET = 2**40
"""Bytes. Far beyond any log, and still a place every file system can seek to."""

# RFC draft-ietf-httpapi-idempotency-key-header leaves the form open; visible ASCII and spaces.
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_ANY_GIT = ("https", "ssh", "http", "file")

T = TypeVar("T")


def limit(default: int, most: int, what: str = "how many at most") -> Parameter:
    """What the document says of `limit`."""
    return Parameter("limit", _number(1, most, default), what)


def _number(least: int, most: int, default: int) -> dict[str, object]:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_STATES = {"type": "string", "enum": [state.value for state in State]}

FILTERS = (
    Parameter("state", {"type": "array", "items": _STATES}, "these states; may be repeated"),
    Parameter("image", _TEXT, "this image, exactly", example="registry.example.org/app:1"),
    Parameter("git_url", _TEXT, "of this repository", example="https://git.example.org/app.git"),
    Parameter("owner", _TEXT, "of this user", example="ann"),
    Parameter("project", _TEXT, "of this project", example="shop"),
    Parameter("q", _TEXT, "with words that begin so, all of them", example="shop main"),
    Parameter("label", {**_TEXT, "pattern": ":"}, "`key:value`", example="team:web"),
    limit(DEFAULT_PAGE, MAX_PAGE),
    Parameter("cursor", _TEXT, "from `next` of the page before"),
)
"""Of `GET /api/v1/builds`; see `list_query`."""

ATTEND = Parameter(
    "attend", {"type": "string", "enum": ["true", "false"]}, "keep an attended build going"
)
OFFSET = Parameter("offset", _number(0, MAX_OFFSET, 0), "bytes of the log before the first")


class Params:
    """Reads the parameters of one request and collects what is wrong with them."""

    def __init__(self, args: MultiDict[str, str], known: tuple[str, ...]) -> None:
        self._args = args
        self._problems = [
            FieldProblem(name[:64], f"unknown parameter{suggestion(name, list(known))}")
            for name in args
            if name not in known
        ]

    def fail(self, name: str, problem: str) -> None:
        """Note a fault."""
        self._problems.append(FieldProblem(name, problem))

    def done(self) -> None:
        """Raises InvalidInputError when anything was wrong."""
        if self._problems:
            raise InvalidInputError(self._problems)

    def text(self, name: str) -> str | None:
        """A parameter given at most once."""
        return self.checked(name, str)

    def checked(self, name: str, check: Callable[[str], T]) -> T | None:
        """A parameter given at most once; `check` may raise InvalidValueError."""
        values = self._args.getlist(name)
        if not values:
            return None
        if len(values) > 1:
            self.fail(name, "given more than once")
            return None
        value = values[0]
        if not value or len(value) > MAX_TEXT or "\0" in value:
            self.fail(name, f"is not 1 to {MAX_TEXT} characters")
            return None
        try:
            return check(value)
        except InvalidValueError as error:
            self.fail(name, error.message)
            return None

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole decimal number within bounds."""

        def check(value: str) -> int:
            if not _DIGITS.fullmatch(value) or not least <= int(value) <= most:
                raise InvalidValueError(f"must be a whole number from {least} to {most}")
            return int(value)

        found = self.checked(name, check)
        return default if found is None else found

    def states(self, name: str) -> tuple[State, ...]:
        """States, comma-separated, repeated or both; upper or lower case."""
        found: list[State] = []
        for value in self._args.getlist(name):
            for word in value[:MAX_TEXT].split(","):
                state = State.__members__.get(word.strip().upper())
                if state is None:
                    self.fail(name, f"known states are {', '.join(State.__members__)}")
                    return ()
                found.append(state)
        return tuple(dict.fromkeys(found))

    def label(self, name: str) -> tuple[str, str] | None:
        """`key:value`; a label's key has no colon, its value may."""

        def check(value: str) -> tuple[str, str]:
            key, colon, rest = value.partition(":")
            if not colon:
                raise InvalidValueError("must be key:value")
            return validate.label_key(key), rest

        return self.checked(name, check)


def list_query(args: MultiDict[str, str]) -> ListQuery:
    """The filters of `GET /api/v1/builds`.

    Image and git URL are normalised as a submitted one is, so that either spelling finds a build.
    Raises InvalidInputError with every fault.
    """
    params = Params(
        args, ("state", "image", "git_url", "owner", "project", "q", "label", "limit", "cursor")
    )
    image = params.checked("image", lambda text: str(validate.image_reference(text)))
    git_url = params.checked("git_url", lambda text: validate.git_url(text, _ANY_GIT))
    query = ListQuery(
        states=params.states("state"),
        image=image,
        git_url=git_url,
        owner=params.text("owner"),
        project=params.text("project"),
        label=params.label("label"),
        search=params.checked("q", words.parse) or (),
        limit=params.number("limit", DEFAULT_PAGE, 1, MAX_PAGE),
        cursor=params.text("cursor"),
    )
    params.done()
    return query


def idempotency_key(header: str | None) -> str | None:
    """The `Idempotency-Key` header. Raises InvalidInputError."""
    if header is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(header):
        raise InvalidInputError(
            [FieldProblem("Idempotency-Key", "must be 1 to 255 printable ASCII characters")]
        )
    return header


def resume_offset(args: MultiDict[str, str], last_event_id: str | None) -> tuple[int, bool]:
    """Where a log stream begins: `Last-Event-ID` if the client reconnects, else `?offset=`.

    And whether it attends the build (`?attend=true`).
    """
    params = Params(args, ("offset", "attend"))
    attends = params.text("attend")
    if attends not in (None, "true", "false"):
        params.fail("attend", "must be true or false")
    offset = params.number("offset", 0, 0, MAX_OFFSET)
    if last_event_id:
        if _DIGITS.fullmatch(last_event_id) and int(last_event_id) <= MAX_OFFSET:
            offset = int(last_event_id)
        else:
            params.fail("Last-Event-ID", "is not one that this stream gave")
    params.done()
    return offset, attends == "true"
