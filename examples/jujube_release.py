"""A release from a script: log in, create it as a build, follow it, wait until it is deployed.

    export BUILDER_URL=https://builder.example.org BUILDER_TOKEN=bft_…
    python examples/jujube_release.py https://git.example.org/shop/web.git v1.2 \\
        registry.example.org/shop/web --app /shop/web

It takes the place of scripts around drone-jujube: the same steps, without an image for a builder
and without a poll for the log. Of `pip install builder-framework` it needs the client alone. Exit
codes: 0 released, 1 the build failed, 2 built but not deployed, 3 no answer.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from builder_framework import answers
from builder_framework.client import ApiError, Client, ConnectionFailedError, Secret

RELEASED, BUILD_FAILED, NOT_DEPLOYED, NO_ANSWER = range(4)
GOING_ON = ("WAITING", "DEPLOYING", "ROLLING_BACK")
LOOK_SECONDS = 2.0


def log_in() -> Client:
    """As the token of the environment, or its user and password."""
    url, token = os.environ["BUILDER_URL"], os.environ.get("BUILDER_TOKEN")
    if token:
        return Client(url, token=Secret(token))
    return Client(url, os.environ["BUILDER_USERNAME"], Secret(os.environ["BUILDER_PASSWORD"]))


def create_release(client: Client, git: str, version: str, image: str, app: str) -> answers.Build:
    """Once for a version of an app, however often this is called: that is what the key is for."""
    body: dict[str, Any] = {
        "source": {"git": {"url": git, "ref": version}},
        "images": [f"{image}:{version}"],
        "labels": {"release": version},
        "deploy": {"marathon": {"app": app}},
    }
    return client.submit(body, idempotency_key=f"release {app} {version}")


def wait_until_deployed(
    client: Client, build_id: str, sleep: Callable[[float], None] = time.sleep
) -> answers.Deployment | None:
    """What became of the image of a build that has succeeded."""
    told = None
    while True:
        deployment = client.get(build_id)["deployment"]
        if deployment is None or deployment["state"] not in GOING_ON:
            return deployment
        if (news := (deployment["state"], deployment["message"])) != told:
            told = news
            say(f"{deployment['app']} {' '.join(filter(None, news))}")
        sleep(LOOK_SECONDS)


def say(text: str) -> None:
    """Beside the log, which is standard output."""
    print(text, file=sys.stderr)


def release(client: Client, words: argparse.Namespace) -> int:
    """All of it; the exit code."""
    who = client.whoami()
    build = create_release(client, words.git, words.version, words.image, words.app)
    say(f"build {build['id']} for {who['name']}")
    end = client.follow(build["id"], sys.stdout.write, say)
    if end["state"] != "SUCCEEDED":
        say(f"{end['state']}: {end['message']}")
        return BUILD_FAILED
    deployment = wait_until_deployed(client, build["id"])
    if deployment is None:
        say("this server deploys nothing")
        return NOT_DEPLOYED
    say(f"{deployment['image']}: {deployment['state']} {deployment['message'] or ''}".rstrip())
    return RELEASED if deployment["state"] == "SUCCEEDED" else NOT_DEPLOYED


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build a version of an app, and deploy it.")
    parser.add_argument("git", help="URL of the repository")
    parser.add_argument("version", help="its tag, and the image's")
    parser.add_argument("image", help="without a tag")
    parser.add_argument("--app", required=True, help="id of the Marathon app")
    words = parser.parse_args(arguments)
    try:
        with log_in() as client:
            return release(client, words)
    except (ApiError, ConnectionFailedError) as error:
        say(error.message)
        for problem in getattr(error, "problems", ()):
            say(f"  {problem.field}: {problem.problem}")
        return NO_ANSWER


if __name__ == "__main__":
    sys.exit(main())
