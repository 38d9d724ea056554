"""Folds the lines of a build and the objects of a push into what became of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from builder_framework.protocol import Reason

# BuildKit's plain progress (util/progress/progressui): `#7 [2/3] RUN make`, `#7 ERROR: …`.
_VERTEX = re.compile(r"#(?P<id>\d+) (?P<name>\[.+\] .+|exporting .+|load .+)")
_VERTEX_ERROR = re.compile(r"#(?P<id>\d+) ERROR: (?P<error>.+)")
_OUTPUT = re.compile(r"#(?P<id>\d+) \d+\.\d+ (?P<text>.*)")
_FINAL = re.compile(r"(?:ERROR|error): (?:failed to solve: |failed to build: )*(?P<error>.+)")
_EXIT_CODE = re.compile(r'process "(?P<command>.*)" did not complete successfully: (?P<how>.+)')
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)

_DOCKERFILE = re.compile(
    r"dockerfile parse error|failed to read dockerfile|unknown instruction|"
    r"target stage .* could not be found|"
    r"(?:file with )?no (?:instructions|build stage)|the Dockerfile .*cannot be empty|"
    r"unknown flag:|requires (?:at least|exactly) |failed to parse stage name|"
    r"base name .* should not be blank|circular dependency|invalid reference format|"
    r"failed to process .*: |syntax error|no such file or directory: .*Dockerfile|"
    r"Dockerfile: no such file or directory|dockerfile.* is empty|frontend grpc",
    re.IGNORECASE,
)
_BASE_IMAGE = re.compile(
    r"failed to resolve source metadata|failed to load metadata|pull access denied|"
    r"failed to do request|failed to authorize|manifest unknown|failed to copy: |"
    r"no match for platform|failed to fetch",
    re.IGNORECASE,
)
_ENGINE = re.compile(
    r"Cannot connect to the Docker daemon|rpc error: .*(?:EOF|closing|reset)|"
    r"connection refused|error reading from server|no such builder|"
    r"failed to (?:connect|dial)|docker daemon is not running",
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
    """Why it failed: `reason` for programs, the sentence for people."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class BuildState:
    """What the lines so far have told. `steps`: name of each vertex by its number."""

    steps: Mapping[str, str]
    failed_step: str | None = None
    error: str | None = None
    final: str | None = None
    no_space: bool = False
    last: str = ""


NEW_BUILD = BuildState(steps={})


def fold_build(state: BuildState, line: str) -> BuildState:
    """The state after one more line of `docker buildx build --progress=plain`."""
    if not line.strip():
        return state
    if match := _OUTPUT.fullmatch(line):
        # A step that fails for want of space says so in its own words, before its error.
        return replace(state, no_space=True) if _NO_SPACE.search(match["text"]) else state
    if match := _VERTEX_ERROR.fullmatch(line):
        if state.error is not None or match["error"].startswith("context canceled"):
            return state  # the first error is the cause, those after it are its victims
        step = state.steps.get(match["id"], f"step {match['id']}")
        return replace(state, failed_step=step, error=match["error"])
    if match := _VERTEX.fullmatch(line):
        if match["id"] in state.steps:
            return state
        return replace(state, steps={**state.steps, match["id"]: match["name"]})
    if match := _FINAL.fullmatch(line):
        return replace(state, final=match["error"])
    if line.startswith("#"):
        return state
    return replace(state, last=line.strip())


def build_failure(state: BuildState, exit_code: int) -> Failure:
    """Why a build that ended with `exit_code` (not 0) failed."""
    error = state.final or state.error or state.last or f"docker ended with {exit_code}"
    texts = f"{state.error or ''}\n{error}"
    if _NO_SPACE.search(texts) or state.no_space:
        return Failure(Reason.DISK_FULL, f"the agent's disk is full: {error}")
    if match := _EXIT_CODE.search(texts):
        step = state.failed_step or f"RUN {match['command']}"
        return Failure(Reason.STEP_FAILED, f"{step}: {match['how']}")
    if _DOCKERFILE.search(texts):
        return Failure(Reason.DOCKERFILE_INVALID, f"the Dockerfile is not valid: {error}")
    if _is_base_image(state, texts):
        return Failure(Reason.BASE_IMAGE_FAILED, f"a base image could not be had: {error}")
    if _ENGINE.search(texts):
        return Failure(Reason.ENGINE_FAILED, f"the Docker engine failed: {error}")
    if state.failed_step is not None and _is_step(state.failed_step):
        return Failure(Reason.STEP_FAILED, f"{state.failed_step}: {state.error}")
    return Failure(Reason.BUILD_FAILED, f"the build failed: {error}")


def _is_base_image(state: BuildState, texts: str) -> bool:
    step = state.failed_step or ""
    if "load metadata for" in step or re.match(r"\[[^\]]*\] FROM ", step):
        return True
    return not step and bool(_BASE_IMAGE.search(texts))


def _is_step(name: str) -> bool:
    """Whether a vertex is an instruction of the Dockerfile: `[2/3] …`, `[stage 2/3] …`."""
    return re.match(r"\[(?:\S+ )?\d+/\d+\] ", name) is not None


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
    """Why a push failed, from the engine's words."""
    if _NO_SPACE.search(error):
        return Failure(Reason.DISK_FULL, f"a disk is full: {error}")
    if _DENIED.search(error):
        return Failure(
            Reason.PUSH_DENIED, f"the registry refused the credentials, or wants some: {error}"
        )
    return Failure(Reason.PUSH_FAILED, f"the image could not be pushed: {error}")


def push_progress(event: Mapping[str, object]) -> str | None:
    """A line for the log, where something began or ended; None for the bars in between."""
    status, identity = event.get("status"), event.get("id")
    if not isinstance(status, str) or event.get("progressDetail"):
        return None
    if status in ("Waiting", "Preparing"):
        return None
    return f"{identity}: {status}" if isinstance(identity, str) else status
