"""`/hooks/NAME`: where forges send their events, and chats what people write."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.datastructures import Headers

from api import audit, auth, bodies, errors
from api.described import outside
from api.hooks import chat, events, orders
from api.hooks.orders import Parts
from builder_framework import logfields
from builder_framework.domain.access import Actor
from builder_framework.domain.hooks import Forge, Room
from builder_framework.domain.triggers import Push, fits
from builder_framework.errors import ForgeError, NotFoundError

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 1024
"""Bytes of what a chat sends."""


def blueprint(parts: Parts) -> Blueprint:
    """The one route: what there is below it is the operator's choice."""
    hooks = Blueprint("hooks", __name__, url_prefix="/hooks")

    @hooks.post("/<hook>")
    @auth.public  # by its own secret
    @outside
    def receive(hook: str) -> Response:
        forge, room = parts.hooks.forges.get(hook), parts.hooks.rooms.get(hook)
        bodies.needs_a_length()
        if forge is not None:
            request.max_content_length = events.MAX_BODY
            return _of_forge(parts, forge, request.headers, request.get_data(cache=False))
        if room is not None:
            request.max_content_length = MAX_MESSAGE
            return _of_room(parts, room, request.get_data(cache=False))
        raise NotFoundError("there is no such hook")

    return hooks


def _of_forge(parts: Parts, forge: Forge, headers: Headers, body: bytes) -> Response:
    if not events.is_from(forge, headers, body):
        raise _wrong_secret(forge.name)
    event = events.name_of(forge, headers)
    if not events.is_push(forge, event):
        return _nothing(f"{event or 'this event'} is not a push")
    push = events.push(forge, body)
    if push is None:
        return _nothing("neither a branch nor a tag")
    if why := _passed_over(forge, push):
        return _nothing(why)
    actor = _becomes(parts, forge.user)
    try:
        key = events.key_of(forge, headers, body)
        views = orders.submitted(parts, forge, push, key, actor)
    except ForgeError as error:
        raise errors.RequestError(
            502 if error.passing else 400, error.code, f"{error.message}; nothing was built"
        ) from None
    if not views:
        return _nothing(f"no rule is about {push.kind.value} {push.name} of {push.repository}")
    for view in views:
        logfields.add(build_id=view.build.id)
        audit.about(view.build.id)
    found: list[dict[str, Any]] = [
        {"id": view.build.id, "images": list(view.build.request.images)}
        | ({} if (link := parts.link(view.build.id)) is None else {"url": link})
        for view in views
    ]
    response = jsonify({"builds": found})
    response.status_code = 202
    return response


def _passed_over(forge: Forge, push: Push) -> str | None:
    """Why nobody even looks at the rules."""
    if push.commit is None:
        return f"{push.kind.value} {push.name} was deleted"
    if not fits(forge.repositories, push.repository):
        return f"{push.repository} is none of the repositories that are listened to"
    if push.skipped:
        return "the commit's message says so"
    return None


def _of_room(parts: Parts, room: Room, body: bytes) -> Response:
    message = chat.parse(body)
    if not chat.is_from(room, message.token):
        raise _wrong_secret(room.name)
    if message.bot:
        # Two bots would talk for ever.
        return jsonify({})
    user = room.users.get(message.user_name, room.user)
    if room.channels and message.channel_name not in room.channels:
        return jsonify({"text": "I do not take orders in this channel."})
    actor = parts.people.known(user) if user is not None else None
    if actor is None:
        return jsonify({"text": "I do not know you: an operator can (`chats` of the hooks' file)."})
    _becomes(parts, actor.name)
    return jsonify({"text": chat.answer(parts, message, actor)})


def _becomes(parts: Parts, user: str) -> Actor:
    """From here on the request is this user's. Raises RequestError."""
    actor = parts.people.known(user)
    if actor is None:
        log.error("the hooks' file names user %r, who is none", user)
        raise errors.RequestError(403, "no_such_user", "the user of this hook is none here")
    g.builder_actor = actor
    logfields.add(user=actor.name)
    return actor


def _nothing(why: str) -> Response:
    return jsonify({"builds": [], "message": f"nothing to build: {why}"})


def _wrong_secret(name: str) -> errors.RequestError:
    log.warning("a request to hook %s without its secret, from %s", name, request.remote_addr)
    return errors.RequestError(401, "wrong_secret", "this is not the secret of the hook")
