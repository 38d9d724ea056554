"""What BuildKit and the engine said in real builds is read as what it meant.

The texts are recorded from Docker 26 (nested engine) and 20.10 (an agent's), shortened and with
another registry's name.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.protocol import FailedStep, Reason, Steps
from executor.stream import (
    NEW_BUILD,
    BuildState,
    PushState,
    build_failure,
    fold_build,
    fold_push,
    push_failure,
    push_progress,
    refused_login,
)

HEAD = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 92B done
#1 DONE 0.0s
"""

BASE = """\
#4 [internal] load metadata for registry.example:5000/base:latest
#4 DONE 0.0s

#6 [1/2] FROM registry.example:5000/base:latest@sha256:0634cae7
#6 CACHED
"""

BUILDS = {
    "an unknown instruction": (
        """\
Dockerfile:2
--------------------
   2 | >>> FROBNICATE x
--------------------
ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: FROBNICATE
""",
        Reason.DOCKERFILE_INVALID,
        (
            "the Dockerfile is not valid: dockerfile parse error on line 2: "
            "unknown instruction: FROBNICATE"
        ),
    ),
    "an unknown instruction, old engine": (
        (
            "ERROR: failed to solve: rpc error: code = Unknown desc = failed to solve with "
            "frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error "
            "line 3: unknown instruction: ECHO\n"
        ),
        Reason.DOCKERFILE_INVALID,
        "the Dockerfile is not valid: dockerfile parse error line 3: unknown instruction: ECHO",
    ),
    "a store that may not be written, at the Dockerfile": (
        """\
#1 [internal] load build definition from Dockerfile
#1 ERROR: failed to read dockerfile: open /var/lib/docker/tmp/buildkit-mount1: permission denied
ERROR: failed to solve: failed to read dockerfile: open /var/lib/docker/tmp/buildkit-mount1: \
permission denied
""",
        Reason.ENGINE_FAILED,
        (
            "the Docker engine cannot use its disk: failed to read dockerfile: "
            "open /var/lib/docker/tmp/buildkit-mount1: permission denied"
        ),
    ),
    "a RUN whose own directory may not be written": (
        BASE
        + """\
#7 [2/2] RUN cat /var/lib/docker/x
#7 0.190 cat: can't open '/var/lib/docker/x': Permission denied
#7 ERROR: process "/bin/sh -c cat /var/lib/docker/x" did not complete successfully: exit code: 1
""",
        Reason.STEP_FAILED,
        "[2/2] RUN cat /var/lib/docker/x: exit code: 1",
    ),
    "an empty Dockerfile": (
        "ERROR: failed to solve: file with no instructions\n",
        Reason.DOCKERFILE_INVALID,
        "the Dockerfile is not valid: file with no instructions",
    ),
    "no FROM": (
        "ERROR: failed to solve: no build stage in current context\n",
        Reason.DOCKERFILE_INVALID,
        "the Dockerfile is not valid: no build stage in current context",
    ),
    "a stage that is not there": (
        'ERROR: failed to solve: target stage "nope" could not be found\n',
        Reason.DOCKERFILE_INVALID,
        'the Dockerfile is not valid: target stage "nope" could not be found',
    ),
    "a base name that is none": (
        (
            'ERROR: failed to solve: failed to parse stage name "UPPER/Case:@@": invalid reference '
            "format: repository name (Case) must be lowercase\n"
        ),
        Reason.DOCKERFILE_INVALID,
        (
            'the Dockerfile is not valid: failed to parse stage name "UPPER/Case:@@": invalid '
            "reference format: repository name (Case) must be lowercase"
        ),
    ),
    "a failing RUN": (
        BASE
        + """\
#7 [2/2] RUN echo hi && exit 3
#7 0.190 hi
#7 ERROR: process "/bin/sh -c echo hi && exit 3" did not complete successfully: exit code: 3
------
 > [2/2] RUN echo hi && exit 3:
0.190 hi
------
ERROR: failed to solve: process "/bin/sh -c echo hi && exit 3" did not complete successfully: \
exit code: 3
""",
        Reason.STEP_FAILED,
        "[2/2] RUN echo hi && exit 3: exit code: 3",
    ),
    "a failing RUN, old engine": (
        """\
#6 [2/2] RUN nosuchcommand
#6 0.141 /bin/sh: nosuchcommand: not found
#6 ERROR: executor failed running [/bin/sh -c nosuchcommand]: exit code: 127
ERROR: failed to solve: executor failed running [/bin/sh -c nosuchcommand]: exit code: 127
""",
        Reason.STEP_FAILED,
        "[2/2] RUN nosuchcommand: exit code: 127",
    ),
    "a failing here-document": (
        """\
#7 [2/2] RUN <<EOT (echo a...)
#7 0.182 a
#7 ERROR: process "/bin/sh -c echo a\\nexit 4\\n" did not complete successfully: exit code: 4
ERROR: failed to solve: process "/bin/sh -c echo a\\nexit 4\\n" did not complete successfully: \
exit code: 4
""",
        Reason.STEP_FAILED,
        "[2/2] RUN <<EOT (echo a...): exit code: 4",
    ),
    "a COPY of nothing": (
        BASE
        + """\
#8 [2/2] COPY nofile /x
#8 ERROR: failed to calculate checksum of ref 6jjc::6z40: "/nofile": not found
------
ERROR: failed to solve: failed to compute cache key: failed to calculate checksum of ref \
6jjc::6z40: "/nofile": not found
""",
        Reason.STEP_FAILED,
        (
            '[2/2] COPY nofile /x: failed to calculate checksum of ref 6jjc::6z40: "/nofile": '
            "not found"
        ),
    ),
    "an ADD from a dead server": (
        """\
#6 http://server.example:9/x
#6 ERROR: Get "http://server.example:9/x": dial tcp 192.0.2.1:9: connect: connection refused
ERROR: failed to solve: failed to load cache key: Get "http://server.example:9/x": dial tcp \
192.0.2.1:9: connect: connection refused
""",
        Reason.STEP_FAILED,
        (
            'http://server.example:9/x: Get "http://server.example:9/x": dial tcp 192.0.2.1:9: '
            "connect: connection refused"
        ),
    ),
    "a base image that is not there": (
        """\
#3 [internal] load metadata for registry.example:5000/nothere:1
#3 ERROR: registry.example:5000/nothere:1: not found

#4 [auth] sharing credentials for registry.example:5000
#4 DONE 0.0s
ERROR: failed to solve: registry.example:5000/nothere:1: failed to resolve source metadata for \
registry.example:5000/nothere:1: registry.example:5000/nothere:1: not found
""",
        Reason.BASE_IMAGE_FAILED,
        (
            "a base image could not be had: registry.example:5000/nothere:1: failed to resolve "
            "source metadata for registry.example:5000/nothere:1: registry.example:5000/nothere:1: "
            "not found"
        ),
    ),
    "a base image that may not be had": (
        """\
#3 [internal] load metadata for registry.example:5000/secret:1
#3 ERROR: unexpected status from HEAD request to http://registry.example:5000/v2/secret/\
manifests/1: 401 Unauthorized
ERROR: failed to solve: unexpected status: 401 Unauthorized
""",
        Reason.BASE_IMAGE_FAILED,
        "a base image could not be had: unexpected status: 401 Unauthorized",
    ),
    "COPY --from an image that is not there, old engine": (
        """\
#6 FROM docker.io/library/nowhere:latest
#6 resolve docker.io/library/nowhere:latest done
#6 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/": no such host
ERROR: failed to solve: failed to load cache key: failed to do request: no such host
""",
        Reason.BASE_IMAGE_FAILED,
        (
            "a base image could not be had: failed to load cache key: failed to do request: "
            "no such host"
        ),
    ),
    "a frontend that is not there": (
        """\
#3 resolve image config for docker-image://registry.example:5000/nofrontend:1
#3 ERROR: registry.example:5000/nofrontend:1: not found
ERROR: failed to solve: registry.example:5000/nofrontend:1: not found
""",
        Reason.BASE_IMAGE_FAILED,
        "a base image could not be had: registry.example:5000/nofrontend:1: not found",
    ),
    "a full disk in a step": (
        """\
#7 [2/3] RUN fill
#7 3.100 dd: error writing 'x': No space left on device
#7 ERROR: process "/bin/sh -c fill" did not complete successfully: exit code: 1
ERROR: failed to solve: process "/bin/sh -c fill" did not complete successfully: exit code: 1
""",
        Reason.DISK_FULL,
        "the agent's disk is full: [2/3] RUN fill",
    ),
    "a full disk in the engine": (
        """\
#12 exporting to image
#12 exporting layers
#12 ERROR: write /var/lib/docker/containerd/x: no space left on device
ERROR: failed to solve: write /var/lib/docker/containerd/x: no space left on device
""",
        Reason.DISK_FULL,
        "the agent's disk is full: exporting to image",
    ),
    "a command that only speaks of full disks": (
        """\
#6 [1/3] RUN warn
#6 0.1 warning: no space left on device
#6 DONE 0.2s
#7 [2/3] RUN test -n "no space left on device" && false
#7 ERROR: process "/bin/sh -c test -n \\"no space left on device\\" && false" did not complete \
successfully: exit code: 1
ERROR: failed to solve: process "…" did not complete successfully: exit code: 1
""",
        Reason.STEP_FAILED,
        '[2/3] RUN test -n "no space left on device" && false: exit code: 1',
    ),
    "an engine that is gone": (
        (
            "ERROR: Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker "
            "daemon running?\n"
        ),
        Reason.ENGINE_FAILED,
        (
            "the Docker engine failed: Cannot connect to the Docker daemon at "
            "unix:///run/docker.sock. Is the docker daemon running?"
        ),
    ),
    "an engine that died meanwhile": (
        (
            "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading "
            "from server: EOF\n"
        ),
        Reason.ENGINE_FAILED,
        "the Docker engine failed: failed to receive status: error reading from server: EOF",
    ),
    "the first of two errors": (
        """\
#7 [a 2/2] RUN exit 3
#8 [b 2/2] RUN sleep 9
#7 ERROR: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
#8 ERROR: process "/bin/sh -c sleep 9" did not complete successfully: exit code: 137: canceled
ERROR: failed to solve: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
""",
        Reason.STEP_FAILED,
        "[a 2/2] RUN exit 3: exit code: 3",
    ),
    "an export that lost its parent": (
        (
            "#12 exporting to image\n"
            '#12 ERROR: failed to prepare extraction snapshot "extract-41-tA2n sha256:b42c": '
            "parent snapshot sha256:ae90 does not exist: not found\n"
            'ERROR: failed to solve: failed to prepare extraction snapshot "extract-41-tA2n '
            'sha256:b42c": parent snapshot sha256:ae90 does not exist: not found\n'
        ),
        Reason.BUILD_FAILED,
        (
            'the image was not unpacked: failed to prepare extraction snapshot "extract-41-tA2n '
            'sha256:b42c": parent snapshot sha256:ae90 does not exist: not found'
        ),
    ),
    "something else": (
        "ERROR: something nobody has seen\n",
        Reason.BUILD_FAILED,
        "the build failed: something nobody has seen",
    ),
    "nothing at all": ("", Reason.BUILD_FAILED, "the build failed: docker ended with 1"),
}


def folded(text: str) -> BuildState:
    state = NEW_BUILD
    for line in text.splitlines():
        state = fold_build(state, line)
    return state


@pytest.mark.parametrize(("text", "reason", "message"), BUILDS.values(), ids=BUILDS)
def test_failed_builds_are_classified(text: str, reason: Reason, message: str) -> None:
    failure = build_failure(folded(HEAD + text), 1)
    assert (failure.reason, failure.message) == (reason, message)


def test_a_layer_that_a_registry_has_is_cached() -> None:
    """BuildKit says so of what it has here only; of the rest it shows how it is fetched."""
    layer = f"sha256:{'a' * 64}"
    text = f"""\
#6 [1/4] FROM registry.example/base:1
#6 {layer} 1.05MB / 1.05MB 0.1s done
#7 [2/4] RUN make
#7 CACHED
#8 [3/4] RUN make install
#8 {layer} 184B / 184B done
#8 DONE 0.0s
#9 [4/4] RUN make test
#9 0.1 {layer} 184B / 184B done
#9 DONE 0.2s
"""
    assert folded(text).counted == Steps(3, 2)


def test_output_cannot_pose_as_an_error() -> None:
    """A step's output always stands behind its number and time."""
    state = folded(
        "#7 [2/2] RUN x\n#7 0.1 ERROR: failed to solve: no build stage\n#7 0.2 #8 ERROR: x"
    )
    assert (state.error, state.final) == (None, None)


@given(st.lists(st.text(max_size=80), max_size=20))
def test_no_line_breaks_the_fold(lines: list[str]) -> None:
    state = NEW_BUILD
    for line in lines:
        state = fold_build(state, line)
    assert build_failure(state, 1).message


@pytest.mark.parametrize(
    ("error", "registries", "reason"),
    [
        ("HEAD request to http://r.example/v2/x: 401 Unauthorized", ["r.example"], "push_denied"),
        ("HEAD request to http://r.example/v2/x: 401 Unauthorized", ["q.x"], "base_image_failed"),
        ("HEAD request to http://r.example/v2/x: 401 Unauthorized", [], "base_image_failed"),
        (
            "HEAD request to http://r.example/v2/x: 404 Not Found",
            ["r.example"],
            "base_image_failed",
        ),
    ],
)
def test_a_refused_password_is_told_as_that(error: str, registries: list[str], reason: str) -> None:
    """Where base image and result share a registry, the base image is only where it shows."""
    state = folded(f"#3 [1/2] FROM r.example/x:1\n#3 ERROR: {error}\n")
    assert refused_login(build_failure(state, 1), registries).reason.value == reason


@pytest.mark.parametrize("what", ["load metadata for ", ""])
def test_a_pinned_base_image_that_fails_is_told_as_a_base_image(what: str) -> None:
    """It is a context then, and may be there in a moment all the same."""
    pinned = f"r.example/x@sha256:{'a' * 64}"
    error = f"unexpected status from GET request to http://r.example/v2/{pinned}: 503"
    state = folded(f"#5 [context r.example/x] {what}{pinned}\n#5 ERROR: {error}\n")
    failure = build_failure(state, 1)
    assert (failure.reason.value, failure.transient) == ("base_image_failed", True)


PUSHED = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "last",
    [
        {"status": f"v1: digest: {PUSHED} size: 891"},
        {"progressDetail": {}, "aux": {"Tag": "v1", "Digest": PUSHED, "Size": 891}},
    ],
)
def test_the_digest_is_found_in_both_forms(last: dict[str, object]) -> None:
    """Docker with the containerd store says it in a status, with the old one in `aux`."""
    state = fold_push(PushState(), {"status": "Pushed", "id": "55e3cce0df44"})
    assert state.digest is None
    assert fold_push(state, last) == PushState(digest=PUSHED)


def test_an_error_anywhere_in_a_push_is_a_failure() -> None:
    """docker-py's push does not raise; a digest after the error does not heal it."""
    state = fold_push(PushState(), {"errorDetail": {"message": "denied"}, "error": "denied"})
    state = fold_push(state, {"aux": {"Digest": PUSHED}})
    assert state.error == "denied"
    assert fold_push(PushState(), {"error": "x"}).error == "x"
    assert fold_push(PushState(), {"errorDetail": {"code": 1}}).error == "unknown error"


DENIED = [
    "unexpected status from HEAD request to http://registry.example:5000/v2/x: 401 Unauthorized",
    (
        "push access denied, repository does not exist or may require authorization: "
        "authorization failed: no basic auth credentials"
    ),
    "unauthorized: authentication required",
    "no basic auth credentials",
    "denied: requested access to the resource is denied",
    "unexpected status from PUT request: 403 Forbidden",
]


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        ("unexpected status from PUT request: 503 Service Unavailable", True),
        ("received unexpected HTTP status: 500 Internal Server Error", True),
        ("toomanyrequests: slow down", True),
        ("write tcp 10.0.0.1:1: connection reset by peer", True),
        ("dial tcp: lookup registry.example: no such host", True),
        ("nobody has ever seen this", True),
        ("manifest invalid: manifest invalid", False),
        ("http: server gave HTTP response to HTTPS client", False),
        ("tls: failed to verify certificate: x509: unknown authority", False),
        ("unexpected status from POST request: 413 Request Entity Too Large", False),
    ],
)
def test_pushes_that_are_worth_another_try(error: str, transient: bool) -> None:
    assert push_failure(error).transient is transient


REFUSED = (
    'failed commit on ref "manifest-sha256:5c6f": unexpected status from PUT request to '
    "http://r.example/v2/app/manifests/builder-staging: 400 Bad Request"
)


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        (REFUSED, True),
        (REFUSED.replace("manifest-", "layer-"), False),
        ("dial tcp: lookup registry.example: no such host", True),
        ("unexpected status from PUT request: 503 Service Unavailable", False),
    ],
)
def test_pushes_that_are_not_repeated_for_long(error: str, doubtful: bool) -> None:
    """A registry refuses a manifest whose layer is just being written by another push."""
    failure = push_failure(error)
    assert failure.doubtful is doubtful
    assert failure.transient or not doubtful


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        ("unexpected status from HEAD request to https://x/: 503 Service Unavailable", True),
        ("unexpected status from HEAD request to https://x/: 429 Too Many Requests", True),
        ("failed to do request: Head: read: connection reset by peer", True),
        ("failed to do request: dial tcp: i/o timeout", True),
        ("failed to copy: httpReadSeeker: failed open: unexpected EOF", True),
        ("registry.example/base:1: not found", False),
        ("pull access denied, repository does not exist: 503", False),
    ],
)
def test_base_images_that_are_worth_another_try(error: str, transient: bool) -> None:
    state = folded(f"#3 [1/2] FROM registry.example/base:1\n#3 ERROR: {error}\n")
    failure = build_failure(state, 1)
    assert (failure.reason, failure.transient) == (Reason.BASE_IMAGE_FAILED, transient)


@pytest.mark.parametrize("error", DENIED)
def test_refused_pushes(error: str) -> None:
    assert push_failure(error).reason is Reason.PUSH_DENIED


@pytest.mark.parametrize(
    "error",
    [
        'failed to do request: Head "https://registry.example:5000/v2/": connection refused',
        "http: server gave HTTP response to HTTPS client",
        "unexpected status from PUT request: 503 Service Unavailable",
        "manifest invalid: manifest invalid",
    ],
)
def test_other_failed_pushes(error: str) -> None:
    assert push_failure(error).reason is Reason.PUSH_FAILED


def test_a_push_for_want_of_space() -> None:
    assert push_failure("write /x: no space left on device").reason is Reason.DISK_FULL


def test_the_log_shows_beginnings_and_ends_only() -> None:
    assert push_progress({"status": "Pushed", "progressDetail": {}, "id": "55e3"}) == "55e3: Pushed"
    assert push_progress({"status": "The push refers to repository [x]"}) is not None
    for event in (
        {"status": "Pushing", "progressDetail": {"current": 1, "total": 2}, "id": "55e3"},
        {"status": "Waiting", "progressDetail": {}, "id": "55e3"},
        {"aux": {"Digest": PUSHED}},
    ):
        assert push_progress(event) is None


FAILED = (
    BASE
    + """\
#5 [linux/amd64 2/4] WORKDIR /x
#5 CACHED

#7 [linux/amd64 3/4] RUN make test
#7 0.2 one test failed
#7 ERROR: process "/bin/sh -c make test" did not complete successfully: exit code: 2
------
 > [linux/amd64 3/4] RUN make test:
0.2 see web.py:99
------
docker/web.Dockerfile:12
--------------------
  10 |     WORKDIR /x
  11 |
  12 | >>> RUN make test
  13 |
--------------------
ERROR: failed to solve: process "/bin/sh -c make test" did not complete successfully: exit code: 2
"""
)


def test_the_failed_step_has_a_line_and_an_exit_code() -> None:
    failure = build_failure(folded(FAILED), 1)
    assert failure.step == FailedStep("[linux/amd64 3/4] RUN make test", 12, 2)
    assert build_failure(folded(BUILDS["a COPY of nothing"][0]), 1).step == FailedStep(
        "[2/2] COPY nofile /x"
    )
    assert build_failure(folded(BUILDS["an unknown instruction"][0]), 1).step is None


def test_steps_are_counted_without_their_base_images() -> None:
    assert folded(FAILED).counted == Steps(2, 1)
    assert folded(BASE).counted == Steps(0, 0)


@pytest.mark.parametrize("said", ["exec /x: exec format error", "/bin/sh: exec format error"])
def test_programs_of_another_platform(said: str) -> None:
    text = f"""\
#7 [2/2] RUN /x
#7 0.1 {said}
#7 ERROR: process "/bin/sh -c /x" did not complete successfully: exit code: 1
"""
    assert build_failure(folded(text), 1).reason is Reason.PLATFORM_UNSUPPORTED


def test_a_cache_that_fails_is_never_the_cause() -> None:
    text = """\
#4 importing cache manifest from registry.example:5000/app:builder-cache
#4 ERROR: registry.example:5000/app:builder-cache: not found
#7 [2/2] RUN make
#7 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
"""
    failure = build_failure(folded(text), 1)
    assert (failure.reason, failure.message) == (Reason.STEP_FAILED, "[2/2] RUN make: exit code: 2")
