"""Events as GitLab, GitHub and Gitea send them, with the proof of who did."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

SECRET = "of-the-forge-0123456789"
COMMIT = "c0ffee" + "0" * 34
NOWHERE = "0" * 40


def gitlab(ref: str = "refs/heads/main", **others: Any) -> dict[str, Any]:
    """A push, or of a tag (docs.gitlab.com, webhook events)."""
    tag = ref.startswith("refs/tags/")
    root = "https://gitlab.example.org"
    return {
        "object_kind": "tag_push" if tag else "push",
        "event_name": "tag_push" if tag else "push",
        "before": NOWHERE,
        # Of an annotated tag the id of the tag itself.
        "after": "7a9" + "0" * 37 if tag else COMMIT,
        "ref": ref,
        "checkout_sha": COMMIT,
        "user_username": "jsmith",
        "user_name": "John Smith",
        "project_id": 15,
        "project": {
            "id": 15,
            "name": "Web",
            "path_with_namespace": "shop/web",
            "git_http_url": f"{root}/shop/web.git",
            "git_ssh_url": "git@gitlab.example.org:shop/web.git",
            "default_branch": "main",
        },
        "commits": [
            {"id": "0" * 39 + "1", "message": "[skip ci] an older one"},
            {"id": COMMIT, "message": "Mend it", "author": {"name": "J"}},
        ],
        "total_commits_count": 2,
        **others,
    }


def hub(ref: str = "refs/heads/main", **others: Any) -> dict[str, Any]:
    """A push at GitHub (docs.github.com, `push`), or at Gitea, which has these fields, too."""
    root = "https://github.example.org"
    return {
        "ref": ref,
        "before": NOWHERE,
        "after": "7a9" + "0" * 37 if ref.startswith("refs/tags/") else COMMIT,
        "created": False,
        "deleted": False,
        "repository": {
            "full_name": "shop/web",
            "clone_url": f"{root}/shop/web.git",
            "ssh_url": "git@github.example.org:shop/web.git",
        },
        "pusher": {"name": "john", "email": "j@example.org"},
        "sender": {"login": "jsmith"},
        "head_commit": {"id": COMMIT, "message": "Mend it", "timestamp": "2026-01-01T00:00:00Z"},
        "commits": [],
        **others,
    }


def signed(kind: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a push."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if kind == "gitlab":
        return {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret}
    if kind == "github":
        return {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={digest}"}
    return {"X-Gitea-Event": "push", "X-Gitea-Signature": digest}


def sent(kind: str, event: dict[str, Any], **headers: str) -> dict[str, Any]:
    """What a client of the tests is told to send."""
    body = json.dumps(event).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "data": body,
        "headers": {"Content-Type": "application/json", **signed(kind, body), **told},
    }
