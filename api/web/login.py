"""Logging in and out."""

from __future__ import annotations

import re

from flask import Blueprint, Response, redirect, request

from api import auth, errors
from api.web import pages
from api.web.pages import Parts
from builder_framework.domain.access import Action

_OURS = re.compile(r"/docs|/ui(/[!-\[\]-~]*)?", re.ASCII)
"""Where somebody may be led to: a page of ours, without a backslash, which some take for `/`."""


def add(web: Blueprint, parts: Parts) -> None:
    """`/ui/login` and `/ui/logout`."""

    @web.get("/login")
    @auth.public
    def login() -> Response:
        return pages.page("login.html", then=_then(request.args.get("next")), problem=None)

    @web.post("/login")
    @auth.public
    def log_in() -> Response:
        then = _then(request.form.get("next"))
        name, password = request.form.get("username", ""), request.form.get("password", "")
        try:
            actor = parts.gate.by_password(name, password)
        except errors.RequestError as error:
            response = pages.page("login.html", error.status, then=then, problem=error.message)
            response.headers.update(error.headers)
            return response
        if actor is None:
            problem = "The server does not know this user with this password."
        elif actor.token is not None:
            # A session is all of its user: it must not grow out of what stands for a part of him.
            problem = "This is a token: tokens are for programs. Log in with your password."
        else:
            response = pages.to(redirect(then, 303))
            parts.sessions.give(response, parts.sessions.begin(actor.name))
            return response
        response = pages.page("login.html", 401, then=then, problem=problem)
        response.headers["WWW-Authenticate"] = auth.PAGE_CHALLENGE
        return response

    @web.post("/logout")
    @auth.needs(Action.OWN)
    def log_out() -> Response:
        response = pages.to(redirect(auth.LOGIN, 303))
        parts.sessions.take(response)
        return response


def _then(text: str | None) -> str:
    return text if text and _OURS.fullmatch(text) else f"{auth.PAGES}/"
