"""Folds the lines of a build and the objects of a push into what became of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from builder_framework.protocol import FailedStep, Reason, Steps

# BuildKit's plain progress (util/progress/progressui): `#7 [2/3] RUN make`, `#7 0.3 text`,
# `#7 ERROR: …`, in the end `ERROR: failed to solve: …`.
_OUTPUT = re.compile(r"#(?P<id>\d+) \d+\.\d+ (?P<text>.*)")
_CACHED = re.compile(r"#(?P<id>\d+) CACHED")
# `#9 sha256:cf4a… 184B / 184B done`: a layer that comes from a registry.
_PULLED = re.compile(r"#(?P<id>\d+) sha256:[0-9a-f]{64} [\d.]+\w+ / [\d.]+\w+( .*)?")
_VERTEX_ERROR = re.compile(r"#(?P<id>\d+) ERROR: (?P<error>.+)")
_VERTEX = re.compile(r"#(?P<id>\d+) (?P<name>.+)")
_FINAL = re.compile(r"(?:ERROR|error): (?P<error>.+)")
_WRAPPING = re.compile(
    r"(?:failed to solve(?: with frontend [\w.]+)?: |failed to build: |"
    r"rpc error: code = \w+ desc = |failed to create LLB definition: )+"
)
# Docker 23 and later; before that.
_EXIT = re.compile(r"(?:did not complete successfully|executor failed running \[.*\]): (?P<how>.+)")
_OTHER_PLATFORM = re.compile(r"exec format error", re.IGNORECASE)
_EXIT_CODE = re.compile(r"exit code: (?P<code>\d+)")
# `Dockerfile:12`, and beneath it a rule and the lines around it.
_PLACE = re.compile(r"\S.*:(?P<line>\d+)")
_RULE = "-" * 20
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)

# `[2/3] RUN make`, `[stage 2/3] COPY …`, and the URL of an ADD.
_INSTRUCTION = re.compile(r"\[(?:\S+ )?\d+/\d+\] |https?://|git@")
_CACHE = re.compile(r"(?:importing cache manifest from|exporting cache to) ")
_BASE = re.compile(r"\[(?:\S+ )*\d+/\d+\] FROM ")
# A FROM, a COPY --from, a base that was pinned, or the frontend that a `# syntax=` names.
_FROM = re.compile(
    r"\[context [^\]]+\] |(?:\[[^\]]*\] )?FROM |\[internal\] load metadata for |"
    r"resolve image config for "
)
_BASE_IMAGE = re.compile(
    r"failed to resolve source metadata|failed to load metadata|pull access denied",
    re.IGNORECASE,
)
_DOCKERFILE = re.compile(
    r"dockerfile parse error|failed to read dockerfile|unknown instruction|"
    r"target stage .* could not be found|no build stage|file with no instructions|"
    r"the Dockerfile .*cannot be empty|failed to parse stage name|invalid reference format|"
    r"base name .* should not be blank|circular dependency|failed to process|"
    r"Dockerfile: no such file or directory",
    re.IGNORECASE,
)
# containerd's garbage collector has taken what the export was about to build on, as the image that
# kept it had gone: https://github.com/moby/buildkit/issues/6521. Nothing is lost but time.
_COLLECTED = re.compile(
    r"failed to prepare extraction snapshot .* parent snapshot \S+ does not exist"
)
# The engine's own directories (its data, BuildKit's, our caches' volume): the operator's matter.
_STORE = re.compile(
    r"/var/lib/(?:docker|buildkit|builder)(?:/[^\s:]*)?: "
    r"(?:permission denied|operation not permitted|read-only file system|input/output error)",
    re.IGNORECASE,
)
_ENGINE = re.compile(
    r"Cannot connect to the Docker daemon|connection refused|error reading from server|"
    r"no such builder|failed to (?:connect|dial)|\b(?:EOF|transport is closing)\b",
    re.IGNORECASE,
)

# What a server or the way to it does for a while: statuses, and what Go calls the rest.
_NOT_NOW = re.compile(
    r"\b(?:408|425|429|5\d\d)\b|too ?many ?requests|"
    r"connection re(?:set|fused)|broken pipe|\bEOF\b|time(?:d )?-?out|deadline exceeded|"
    r"no such host|server misbehaving|no route to host|network is unreachable|"
    r"temporary failure|temporarily unavailable|failed size validation",
    re.IGNORECASE,
)
# What stays wrong however often it is tried.
_FOR_GOOD = re.compile(
    r"x509|certificate|gave HTTP response to HTTPS client|\binvalid reference format\b|"
    r"(?:manifest|name|tag) (?:invalid|unknown)|unsupported|quota|immutable|"
    r"\b(?:400|404|405|409|413|415|422)\b",
    re.IGNORECASE,
)
_WRONG_PASSWORD = re.compile(r"\b401\b|incorrect username or password", re.IGNORECASE)
# A name server may fail for a while, but a misspelt registry never comes. A manifest may be refused
# because another push is just writing one of its layers, or for good.
_DOUBTFUL = re.compile(
    r"no such host|on ref .(?:manifest|index)-\S+ unexpected status from PUT request to \S+ 400\b",
    re.IGNORECASE,
)

_DENIED = re.compile(
    r"denied|unauthorized|authentication required|no basic auth|insufficient_scope|"
    r"authorization failed|failed to authorize|incorrect username or password|"
    r"\b40[13]\b",
    re.IGNORECASE,
)

# Engines with the containerd store (Docker 26) say this and send no `aux` object.
_PUSHED = re.compile(r"\S+: digest: (?P<digest>sha256:[0-9a-f]{64}) size: \d+")


@dataclass(frozen=True)
class Failure:
    """Why it failed: `reason` for programs, the sentence for people.

    `transient`: whether another try may succeed; None leaves that to the reason. `doubtful`:
    just the same is told of what stays wrong. `step`: which failed, if one did.
    """

    reason: Reason
    message: str
    transient: bool | None = None
    doubtful: bool = False
    step: FailedStep | None = None


@dataclass(frozen=True)
class BuildState:
    """What the lines so far have told. `steps`: name of each vertex by its number.

    `no_space`: the vertices whose own output complains about a full disk; `foreign`: those with a
    program of another platform; `cached`: those that the cache had. `line`: the place in the
    Dockerfile that the error is about.
    """

    steps: Mapping[str, str]
    failed: str | None = None
    error: str | None = None
    final: str | None = None
    no_space: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    cached: frozenset[str] = frozenset()
    line: int | None = None
    last: str = ""

    @property
    def failed_step(self) -> str | None:
        """The name of the vertex that failed first."""
        return None if self.failed is None else self.steps.get(self.failed, f"step {self.failed}")

    @property
    def counted(self) -> Steps:
        """The instructions that were looked at, without the FROMs."""
        found = {
            number
            for number, name in self.steps.items()
            if _INSTRUCTION.match(name) and not _BASE.match(name)
        }
        return Steps(len(found), len(found & self.cached))


NEW_BUILD = BuildState(steps={})


def fold_build(state: BuildState, line: str) -> BuildState:
    """The state after one more line of `docker buildx … --progress=plain`."""
    if not line.strip():
        return state
    if match := _OUTPUT.fullmatch(line):
        return _fold_output(state, match["id"], match["text"])
    if match := _CACHED.fullmatch(line) or _PULLED.fullmatch(line):
        return replace(state, cached=state.cached | {match["id"]})
    if match := _VERTEX_ERROR.fullmatch(line):
        if _CACHE.match(state.steps.get(match["id"], "")):
            return state  # it makes the build slower, no more
        if state.error is not None or match["error"].startswith("context canceled"):
            return state  # the first error is the cause, those after it are its victims
        return replace(state, failed=match["id"], error=match["error"])
    if match := _VERTEX.fullmatch(line):
        if match["id"] in state.steps:
            return state
        return replace(state, steps={**state.steps, match["id"]: match["name"]})
    if match := _FINAL.fullmatch(line):
        return replace(state, final=_WRAPPING.sub("", match["error"]), last="")
    if line == _RULE and state.line is None and (match := _PLACE.fullmatch(state.last)):
        return replace(state, line=int(match["line"]), last="")
    return replace(state, last=line.strip())


def _fold_output(state: BuildState, vertex: str, text: str) -> BuildState:
    if _NO_SPACE.search(text):
        return replace(state, no_space=state.no_space | {vertex})
    if _OTHER_PLATFORM.search(text):
        return replace(state, foreign=state.foreign | {vertex})
    return state


def build_failure(state: BuildState, exit_code: int) -> Failure:
    """Why a build that ended with `exit_code` (not 0) failed."""
    failure = _why(state, exit_code)
    name = state.failed_step
    if name is None or not _INSTRUCTION.match(name):
        return failure
    code = _EXIT_CODE.search(failure.message)
    step = FailedStep(name, state.line, None if code is None else int(code["code"]))
    return replace(failure, step=step)


def _why(state: BuildState, exit_code: int) -> Failure:
    step = state.failed_step or ""
    error = state.final or state.error or state.last or f"docker ended with {exit_code}"
    # A command of several lines is quoted with them, so the error's end is on the last one.
    texts = "\n".join(filter(None, (state.error, state.final, state.last)))
    exited = _EXIT.search(texts)
    # The text of a failed RUN holds its command, which may speak of anything.
    if _NO_SPACE.search(exited["how"] if exited else texts) or state.failed in state.no_space:
        return Failure(Reason.DISK_FULL, f"the agent's disk is full: {step or error}")
    if exited and (state.failed in state.foreign or _OTHER_PLATFORM.search(exited["how"])):
        return Failure(
            Reason.PLATFORM_UNSUPPORTED,
            f"{step or 'RUN'}: a program of another platform than the agent's, whose kernel has no "
            "emulator for it (exec format error)",
        )
    if exited:
        return Failure(Reason.STEP_FAILED, f"{step or 'RUN'}: {exited['how']}")
    if _STORE.search(texts):
        return Failure(Reason.ENGINE_FAILED, f"the Docker engine cannot use its disk: {error}")
    if step.startswith("exporting to ") and _COLLECTED.search(texts):
        return Failure(Reason.BUILD_FAILED, f"the image was not unpacked: {error}", transient=True)
    if _FROM.match(step):
        return _base_image_failure(error, texts)
    if _INSTRUCTION.match(step):
        return Failure(Reason.STEP_FAILED, f"{step}: {state.error}")
    if _DOCKERFILE.search(texts):
        return Failure(Reason.DOCKERFILE_INVALID, f"the Dockerfile is not valid: {error}")
    if _BASE_IMAGE.search(texts):
        return _base_image_failure(error, texts)
    if _ENGINE.search(texts):
        return Failure(Reason.ENGINE_FAILED, f"the Docker engine failed: {error}")
    return Failure(Reason.BUILD_FAILED, f"the build failed: {error}")


def _base_image_failure(error: str, texts: str) -> Failure:
    transient = bool(_NOT_NOW.search(texts)) and not _DENIED.search(texts)
    return Failure(
        Reason.BASE_IMAGE_FAILED, f"a base image could not be had: {error}", transient=transient
    )


def pull_failure(error: str) -> Failure:
    """Why an image could not be pulled, from the engine's words."""
    return _base_image_failure(error, error)


def refused_login(failure: Failure, registries: Iterable[str]) -> Failure:
    """`failure`, or what is behind it: these registries were given a password and refused it."""
    told = failure.message
    if (
        failure.reason is Reason.BASE_IMAGE_FAILED
        and _WRONG_PASSWORD.search(told)
        and any(f"{registry}/" in told for registry in registries)
    ):
        return Failure(Reason.PUSH_DENIED, f"the registry refused registry_auth: {told}")
    return failure


@dataclass(frozen=True)
class PushState:
    """What the push stream has told so far. `digest`: of the manifest the registry now has."""

    digest: str | None = None
    error: str | None = None


def fold_push(state: PushState, event: Mapping[str, object]) -> PushState:
    """The state after one more object of POST /images/NAME/push; an error stays for good."""
    detail = event.get("errorDetail")
    if "error" in event or detail:
        message = detail.get("message") if isinstance(detail, Mapping) else None
        return replace(state, error=str(message or event.get("error") or "unknown error"))
    aux = event.get("aux")
    if isinstance(aux, Mapping) and isinstance(aux.get("Digest"), str):
        return replace(state, digest=aux["Digest"])
    status = event.get("status")
    if isinstance(status, str) and (match := _PUSHED.fullmatch(status)):
        return replace(state, digest=match["digest"])
    return state


def push_failure(error: str) -> Failure:
    """Why a push failed, from the engine's words.

    Transient unless known to be for good: a push is repeated without building again, and nobody
    knows all that may be said of a broken connection.
    """
    if _NO_SPACE.search(error):
        return Failure(Reason.DISK_FULL, f"a disk is full: {error}")
    if _DENIED.search(error):
        return Failure(
            Reason.PUSH_DENIED, f"the registry refused the credentials, or wants some: {error}"
        )
    doubtful = bool(_DOUBTFUL.search(error))
    return Failure(
        Reason.PUSH_FAILED,
        f"the image could not be pushed: {error}",
        transient=doubtful or bool(_NOT_NOW.search(error)) or not _FOR_GOOD.search(error),
        doubtful=doubtful,
    )


def push_progress(event: Mapping[str, object]) -> str | None:
    """A line for the log, where something began or ended; None for the bars in between."""
    status, identity = event.get("status"), event.get("id")
    if not isinstance(status, str) or event.get("progressDetail"):
        return None
    if status in ("Waiting", "Preparing"):
        return None
    return f"{identity}: {status}" if isinstance(identity, str) else status
