"""The form that asks for a build. It makes the body that the API takes, and is held to the same."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, redirect, request

from api import admission, auth, errors, params, render, schemas, strictjson
from api.web import pages
from api.web.pages import Parts
from builder_framework.domain.access import Action
from builder_framework.errors import FieldProblem, InvalidInputError
from builder_framework.ports import Idempotency

TEXTS = (
    "git_url",
    "git_ref",
    "git_username",
    "dockerfile_text",
    "images",
    "context",
    "dockerfile",
    "target",
    "build_args",
    "labels",
    "registry_username",
    "platforms",
    "timeout",
    "priority",
    "project",
    "more",
)
FLAGS = ("no_cache", "pull", "git_submodules", "git_lfs")
PASSWORDS = ("git_password", "registry_password")
"""Never shown again, whatever was wrong."""

Json = dict[str, Any]

_FIELDS = {
    "source": "git_url",
    "source.git.url": "git_url",
    "source.git.ref": "git_ref",
    "source.git.username": "git_username",
    "source.git.password": "git_password",
    "source.inline.dockerfile": "dockerfile_text",
    "registry_auth.username": "registry_username",
    "registry_auth.password": "registry_password",
}
"""Of the form, by field of the body."""


def add(web: Blueprint, parts: Parts) -> None:
    """`/ui/submit`, and `/ui/builds/<id>/change`: the form filled in with a build's request."""

    @web.get("/submit")
    @auth.needs(Action.SUBMIT)
    def submit() -> Response:
        return _form({}, [])

    @web.get("/builds/<build_id>/change")
    @auth.needs(Action.SEE)
    def change(build_id: str) -> Response:
        """What was masked has to be given again."""
        asked = parts.builds.get(build_id).build.request
        return _form(filled_in(render.request(asked)), [])

    @web.post("/submit")
    @auth.needs(Action.SUBMIT)
    def submit_it() -> Response:
        told = {name: request.form.get(name, "") for name in (*TEXTS, *FLAGS)}
        errors.remember_secrets(request.form.get(name, "") for name in PASSWORDS)
        owner = auth.owner()
        try:
            document, problems = body(request.form)
            _remember(document)
            asked = schemas.parse_build(document, parts.policy, problems)
            key = params.idempotency_key(request.form.get("key") or secrets.token_hex(16))
            idempotency = Idempotency(key or "", asked.fingerprint(owner))
            known = parts.builds.replayed(owner, idempotency)
            if known is None:
                admitted = asked.to_request(parts.policy)
                admitted = admission.admitted(
                    admitted, auth.actor(), parts.projects, parts.policy.marathon_apps
                )
                known, _ = parts.builds.submit(admitted, owner, idempotency)
        except InvalidInputError as error:
            return _form(told, pages.problems_of(error), 400)
        return pages.to(redirect(f"{auth.PAGES}/builds/{known.build.id}", 303))


def body(form: Mapping[str, str]) -> tuple[Json, list[FieldProblem]]:
    """The document that the form stands for, and what is wrong with its JSON."""
    more, problems = _more(form.get("more", ""))
    document: Json = {**_source(form), "images": form.get("images", "").split()}
    for name, made in _KINDS.items():
        if value := form.get(name, "").strip():
            document[name] = made(value)
    login = {"username": form.get("registry_username", "").strip()}
    if password := form.get("registry_password", ""):
        login["password"] = password
    if any(login.values()):
        document["registry_auth"] = login
    for name in more:
        if document.get(name):
            problems.append(FieldProblem("more", f"{name} has a field of its own above"))
    return {**document, **more}, problems


def filled_in(shown: Mapping[str, Any]) -> dict[str, str]:
    """The form's fields for a request as the API shows it, without what is masked."""
    git = shown["source"].get("git") or {}
    inline = shown["source"].get("inline") or {}
    login = shown["registry_auth"] or {}
    return {
        "git_url": git.get("url") or "",
        "git_ref": git.get("ref") or "",
        "git_username": git.get("username") or "",
        "git_submodules": "on" if git.get("submodules") else "",
        "git_lfs": "on" if git.get("lfs") else "",
        "dockerfile_text": inline.get("dockerfile") or "",
        "images": "\n".join(shown["images"]),
        "context": shown["context"],
        "dockerfile": shown["dockerfile"],
        "target": shown["target"] or "",
        "build_args": _lines(shown["build_args"]),
        "labels": _lines(shown["labels"]),
        "registry_username": login.get("username") or "",
        "platforms": " ".join(shown["platforms"]),
        "timeout": f"{shown['timeout']:g}",
        "priority": str(shown["priority"]),
        "project": shown["project"] or "",
        "no_cache": "on" if shown["no_cache"] else "",
        "pull": "on" if shown["pull"] else "",
    }


def _form(told: Mapping[str, str], problems: list[FieldProblem], status: int = 200) -> Response:
    fields = {name: told.get(name, "") for name in (*TEXTS, *FLAGS)}
    by_field: dict[str, list[str]] = {}
    others: list[FieldProblem] = []
    for item in problems:
        name = _FIELDS.get(item.field) or item.field.partition(".")[0]
        if name in fields or name in PASSWORDS:
            rest = item.field if "." in item.field and item.field not in _FIELDS else ""
            by_field.setdefault(name, []).append(
                f"{rest}: {item.problem}" if rest else item.problem
            )
        else:
            others.append(item)
    return pages.page(
        "submit.html",
        status,
        fields=fields,
        problems=by_field,
        others=others,
        wrong=len(problems),
        # A form that is sent twice makes one build.
        key=secrets.token_hex(16),
    )


def _source(form: Mapping[str, str]) -> Json:
    text = form.get("dockerfile_text", "")
    git: Json = {}
    for name in ("url", "ref", "username"):
        if value := form.get(f"git_{name}", "").strip():
            git[name] = value
    if password := form.get("git_password", ""):
        git["password"] = password
    for name in ("submodules", "lfs"):
        if form.get(f"git_{name}"):
            git[name] = True
    source: Json = {}
    if git or not text.strip():
        source["git"] = git
    if text.strip():
        # Browsers send CRLF (HTML, "constructing the form data set").
        source["inline"] = {"dockerfile": text.replace("\r\n", "\n")}
    return {"source": source}


def _more(text: str) -> tuple[Json, list[FieldProblem]]:
    if not text.strip():
        return {}, []
    try:
        found, problems = strictjson.parse(text.encode("utf-8", "replace"))
    except strictjson.JsonError as error:
        return {}, [FieldProblem("more", str(error))]
    if not isinstance(found, dict):
        return {}, [FieldProblem("more", 'must be a JSON object, such as {"sbom": true}')]
    return found, problems


def _remember(found: Json) -> None:
    errors.remember_secrets(strictjson.strings_at(found, "password"))
    for name in ("secrets", "ssh"):
        values = found.get(name)
        if isinstance(values, dict):
            errors.remember_secrets(x for x in values.values() if isinstance(x, str))


def _pairs(text: str) -> dict[str, str]:
    """`KEY=value`, one a line."""
    lines = (line.strip("\r") for line in text.split("\n") if line.strip())
    return {key.strip(): value for key, _, value in (line.partition("=") for line in lines)}


def _lines(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={value}" for key, value in pairs.items())


def _number(text: str) -> Any:
    """A number if it is one; else the text, of which the schema says what it should be."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else text


_KINDS: dict[str, Callable[[str], Any]] = {
    "context": str,
    "dockerfile": str,
    "target": str,
    "project": str,
    "build_args": _pairs,
    "labels": _pairs,
    "platforms": lambda text: text.replace(",", " ").split(),
    "timeout": _number,
    "priority": _number,
    "no_cache": bool,
    "pull": bool,
}
"""What becomes of a field's text in the body."""
