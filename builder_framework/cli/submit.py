"""`builder submit`: a build request from flags, a file, or both."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from builder_framework import answers
from builder_framework.cli import context, options, output, recipe_options, watch
from builder_framework.cli.commands import follow
from builder_framework.cli.output import Json
from builder_framework.cli.terminal import one_line
from builder_framework.client import Client, retry

_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries. A submission may be repeated: its idempotency key makes it one build."""


_GIT_SWITCHES = ("submodules", "lfs", "keep_git_dir")


def _request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that become fields of the request."""
    for option in reversed(
        [
            click.option("--git", "git_url", metavar="URL", help="The repository."),
            click.option("--ref", metavar="REF", help="Branch, tag or commit."),
            click.option("--git-username", envvar="BUILDER_GIT_USERNAME", metavar="NAME"),
            click.option(
                "--git-password-stdin", is_flag=True, help="Read git's password from stdin."
            ),
            click.option(
                "--git-password-env",
                metavar="NAME",
                help="Variable with git's password.  [default: BUILDER_GIT_PASSWORD]",
            ),
            click.option("--ssh-key-file", metavar="FILE", help="Private key for git over ssh."),
            click.option("--known-hosts-file", metavar="FILE", help="The ssh hosts' keys."),
            click.option("--depth", type=int, metavar="N", help="Commits of history; 0 is all."),
            click.option("--submodules", is_flag=True, help="Fetch them, too, at every depth."),
            click.option("--lfs", is_flag=True, help="Fetch Git LFS objects."),
            click.option("--keep-git-dir", is_flag=True, help="Leave .git in the build context."),
            click.option(
                "--image", "images", multiple=True, metavar="NAME", help="Push as this; repeatable."
            ),
            click.option("--context", metavar="DIR", help="Within the repository."),
            click.option("--dockerfile", metavar="FILE", help="Within the repository."),
            click.option("--target", metavar="STAGE"),
            click.option(
                "--build-arg", "build_args", multiple=True, type=options.pair, metavar="K=V"
            ),
            click.option("--registry-username", envvar="BUILDER_REGISTRY_USERNAME", metavar="NAME"),
            click.option(
                "--registry-password-stdin", is_flag=True, help="Read it from standard input."
            ),
            click.option(
                "--registry-password-env",
                metavar="NAME",
                help="Variable with the password.  [default: BUILDER_REGISTRY_PASSWORD]",
            ),
            click.option("--cpus", type=float),
            click.option("--mem", type=float, metavar="MIB"),
            click.option("--disk", type=float, metavar="MIB"),
            click.option(
                "--constraint",
                "constraints",
                multiple=True,
                type=options.constraint,
                metavar="ATTR:OP:VALUE",
                help="Where it may run, like rack:LIKE:a|b; repeatable.",
            ),
            click.option("--timeout", type=options.duration, metavar="30m"),
            click.option("--queue-ttl", type=options.duration, metavar="2h"),
            click.option("--priority", type=int),
            click.option("--label", "labels", multiple=True, type=options.pair, metavar="K=V"),
        ]
    ):
        command = option(command)
    return command


@click.command()
@click.argument("source", required=False, metavar="[URL|DIR]")
@options.server_options
@_request_options
@recipe_options.recipe_options
@click.option("--file", "file", metavar="FILE", help="A JSON request; flags go before it.")
@click.option("--idempotency-key", metavar="KEY", help="Submitting twice gives one build.")
@click.option("--follow", "following", is_flag=True, help="Print the log; exit with the result.")
@click.option("--watch", "watching", is_flag=True, help="Show the phase; exit with the result.")
@click.option("--raw", is_flag=True, help="With --follow: terminal escapes as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the build as the API gives it.")
def submit(
    client: Client,
    file: str | None,
    idempotency_key: str | None,
    following: bool,
    watching: bool,
    raw: bool,
    as_json: bool,
    source: str | None,
    **flags: Any,
) -> None:
    """Submit a build of a git URL, or of a directory here. Prints its id; with --follow its log.

    Of a directory goes what Docker would take: all but what .dockerignore says.

    \b
    builder submit https://git.example.org/app.git --ref v1.2 --image registry.example.org/app:1.2
    builder submit . --image registry.example.org/app:try --follow
    builder submit --file request.json --watch
    """
    if as_json + following + watching > 1:
        raise click.UsageError(
            "--json, --follow and --watch all want standard output; give one of them"
        )
    body = _from_file(file)
    folder = Path(source) if source is not None and context.is_folder(source) else None
    if source is not None and folder is None:
        if flags["git_url"]:
            raise click.UsageError("give the repository once: as an argument, or with --git")
        flags["git_url"] = source
    _apply(body, flags, uploads=folder is not None)
    key = idempotency_key or str(uuid.uuid4())
    if folder is None:
        build = patiently(lambda: client.submit(body, key))
    else:
        build = _upload(client, folder, body, key)
    build_id = str(build["id"])
    if as_json:
        output.show_json(build)
    elif following:
        output.note(f"build {build_id}")
        follow(client, build_id, raw=raw, attend="attended" in body)
    elif watching:
        output.note(f"build {build_id}")
        watch.until_over(client, build_id, attend="attended" in body)
    else:
        click.echo(one_line(build_id))
        output.note(f"watch it: builder logs {one_line(build_id)} -f")


def _upload(client: Client, folder: Path, body: Json, key: str) -> answers.Build:
    dockerfile, where = body.get("dockerfile") or "Dockerfile", body.get("context") or "."
    with context.packed(folder, str(dockerfile), str(where)) as packed:
        output.note(f"packed {packed.files} files: {packed.size / 2**20:.1f} MiB")

        def send() -> answers.Build:
            bar: Any
            with click.progressbar(length=packed.size, label="uploading", file=sys.stderr) as bar:
                content = context.Multipart(body, packed, bar.update)
                return client.upload(content, content.content_type, key)

        return patiently(send)


def patiently(
    submit: Callable[[], answers.Build], sleep: Callable[[float], None] = time.sleep
) -> answers.Build:
    """Submit, again if the server is away for a moment."""
    return retry.patiently(submit, _WAITS, repeatable=True, note=output.note, sleep=sleep)


def _from_file(file: str | None) -> Json:
    if file is None:
        return {}
    try:
        raw = options.stdin().read("--file -") if file == "-" else Path(file).read_bytes()
        body = json.loads(raw)
    except OSError as error:
        raise click.UsageError(f"--file: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(f"--file: not JSON ({type(error).__name__})") from None
    if not isinstance(body, dict):
        raise click.UsageError("--file: must hold a JSON object")
    return body


def _apply(body: Json, flags: dict[str, Any], *, uploads: bool = False) -> None:
    """Put the flags that were given over what the file says. `uploads`: the source goes with it."""
    git = _git(flags)
    if not uploads and git:
        _section(_section(body, "source"), "git").update(git)
    elif uploads and ("source" in body or set(git) - {"username", "password"}):
        raise click.UsageError("a directory is the source: leave out what is said of another one")
    names = ("context", "dockerfile", "target", "timeout", "queue_ttl", "priority")
    _put(body, {name: flags[name] for name in names})
    if flags["images"]:
        body["images"] = list(flags["images"])
    if flags["constraints"]:
        body["constraints"] = list(flags["constraints"])
    for name in ("build_args", "labels"):
        if flags[name]:
            _section(body, name).update(flags[name])
    recipe_options.apply(body, flags, _section)
    if auth := _login(flags, "registry", "BUILDER_REGISTRY_PASSWORD"):
        body["registry_auth"] = auth
    resources = {name: flags[name] for name in ("cpus", "mem", "disk") if flags[name] is not None}
    if resources:
        _section(body, "resources").update(resources)
    if not (uploads or body.get("source")) or not body.get("images"):
        raise click.UsageError(
            "give a git URL or a directory and at least one --image NAME, or a --file"
        )


def _git(flags: dict[str, Any]) -> Json:
    """What is said of a repository."""
    git: Json = {}
    _put(git, {"url": flags["git_url"], "ref": flags["ref"], "depth": flags["depth"]})
    git |= _login(flags, "git", "BUILDER_GIT_PASSWORD")
    _put(git, {name: True if flags[name] else None for name in _GIT_SWITCHES})
    for name in ("ssh_key", "known_hosts"):
        if file := flags[f"{name}_file"]:
            git[name] = options.file_text(f"--{name.replace('_', '-')}-file", file)
    return git


def _login(flags: dict[str, Any], what: str, default_env: str) -> Json:
    """`{"username", "password"}` when a login was given, `{}` when not."""
    username = flags[f"{what}_username"]
    password, asked = options.secret(
        what,
        from_stdin=flags[f"{what}_password_stdin"],
        env_name=flags[f"{what}_password_env"],
        default_env=default_env,
    )
    if username and password:
        return {"username": username, "password": password.reveal()}
    if username:
        raise click.UsageError(
            f"--{what}-username needs a password: set {default_env}, or give "
            f"--{what}-password-env or --{what}-password-stdin"
        )
    if asked:
        raise click.UsageError(f"--{what}-username is missing (any name will do for a token)")
    return {}


def _section(body: Json, name: str) -> Json:
    section = body.setdefault(name, {})
    if not isinstance(section, dict):
        raise click.UsageError(f"--file: {name} must be an object")
    return section


def _put(section: Json, values: Json) -> None:
    section.update({name: value for name, value in values.items() if value is not None})
