"""Who is calling, and the tokens that stand for him."""

from __future__ import annotations

import re
import time
from typing import Literal

from flask import Blueprint, Response
from pydantic import field_validator

from api import audit, auth, bodies, errors
from api.described import Answer, Content, Plain, describes
from api.fields import Body, fail
from api.parsing import parse
from builder_framework import answers
from builder_framework.codec import time_of, timestamp
from builder_framework.domain.access import Action, Role
from builder_framework.errors import NotFoundError
from builder_framework.people import People, Token, Tokens, TokenWish, is_token_id, new_token

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@/-]{0,63}", re.ASCII)

MAX_DAYS = 3650


class TokenBody(Body):
    """Of `POST /api/v1/tokens`."""

    name: str
    role: Literal["viewer", "builder", "operator", "admin"] = "builder"
    project: str | None = None
    expires_in_days: float | None = None

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            fail("is not 1 to 64 of A-Za-z0-9 ._@/- beginning with a letter or digit")
        return value

    @field_validator("expires_in_days")
    @classmethod
    def _is_a_time(cls, value: float | None) -> float | None:
        if value is not None and not 0 < value <= MAX_DAYS:
            fail(f"must be more than 0 and at most {MAX_DAYS}; leave it out for no end")
        return value


_WHO = Answer(200, answers.WhoAmI)
_CREATED = Answer(201, answers.NewToken, {"Location": "path of the token"})
_TOKENS = Answer(200, answers.Tokens)
_REVOKED = Plain(204, "It opens nothing any more.")
_WISH = Content(TokenBody, {"name": "ci", "role": "builder", "expires_in_days": 365})


def blueprint(people: People) -> Blueprint:
    """`/api/v1/whoami` and, if there are tokens here, `/api/v1/tokens`."""
    made = Blueprint("people", __name__, url_prefix="/api/v1")

    @made.get("/whoami")
    @auth.needs(Action.OWN)
    @describes("whoAmI", _WHO)
    def whoami() -> Response:
        """The caller's name and roles."""
        who = auth.actor()
        roles = {name: role.value for name, role in sorted(who.projects.items())}
        return _WHO.of({"name": who.name, "role": who.role.value, "projects": roles})

    if people.tokens is not None:
        _add_tokens(made, people.tokens)
    return made


def _add_tokens(made: Blueprint, tokens: Tokens) -> None:
    """A caller's own; an admin's are everybody's."""

    @made.post("/tokens")
    @auth.needs(Action.OWN)
    @describes("createToken", _CREATED, content=_WISH, problems=(409,))
    def create() -> Response:
        """201 with the token's text, which is told this once."""
        _with_password()
        body = parse(TokenBody, *bodies.document())
        token, text = new_token(auth.owner(), _wish(body), time.time())
        _within_reach(token)
        tokens.create(token)
        audit.about(token.id)
        response = _CREATED.of({**_shown(token), "token": text.reveal()})
        response.headers["Location"] = f"/api/v1/tokens/{token.id}"
        return response

    @made.get("/tokens")
    @auth.needs(Action.OWN)
    @describes("listTokens", _TOKENS)
    def listing() -> Response:
        """The newest first, without what opens anything."""
        found = tokens.list(None if _is_admin() else auth.owner())
        return _TOKENS.of({"tokens": [_shown(token) for token in found]})

    @made.delete("/tokens/<token_id>")
    @auth.needs(Action.OWN)
    @describes("revokeToken", _REVOKED)
    def revoke(token_id: str) -> Response:
        """204; whoever uses it is out at once."""
        if not is_token_id(token_id):
            raise NotFoundError("there is no token with this id")
        tokens.revoke(token_id, None if _is_admin() else auth.owner())
        return Response(status=204)


def _is_admin() -> bool:
    return auth.actor().role.covers(Role.ADMIN)


def _with_password() -> None:
    """A token that got out must not make others that outlive it."""
    if auth.actor().token is not None:
        raise errors.RequestError(
            403, "password_needed", "a token makes no tokens: log in with the password"
        )


def _wish(body: TokenBody) -> TokenWish:
    days = body.expires_in_days
    until = None if days is None else time.time() + days * 86400
    return TokenWish(body.name, Role(body.role), body.project, until)


def _within_reach(token: Token) -> None:
    """Raises RequestError when its owner has not what it is to give: it would surprise him."""
    who = auth.actor()
    role = who.anywhere if token.project is None else who.role_in(token.project)
    if not role.covers(token.role):
        where = f" in project {token.project!r}" if token.project else ""
        raise errors.RequestError(
            403, "forbidden", f"{who.name} is {role.value}{where}: a token cannot give more"
        )


def _shown(token: Token) -> answers.Token:
    return {
        "id": token.id,
        "owner": token.owner,
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "created_at": time_of(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "last_used_at": timestamp(token.last_used_at),
    }
