"""What the first builds are made of: a small base image, and a sample repository that builds on it.

The sample shows in the image what a build did: a build argument, a RUN, a COPY, two stages and an
entry point. It needs no network but the cluster's own registry.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from devcluster.engine import Engine, find_program
from devcluster.git import GitServer
from devcluster.registry import Registry

DOCKERFILE_DIR = Path(__file__).parent / "images" / "base"
PUBLIC = "app"
PRIVATE = "private"
FEATURE_BRANCH = "feature"
TAG = "v1.0.0"

DOCKERFILE = """\
FROM {base} AS build
ARG GREETING=hello
COPY message.txt /src/message.txt
RUN mkdir -p /out && {{ echo "$GREETING"; cat /src/message.txt; }} > /out/message.txt

FROM {base} AS debug
COPY --from=build /out/message.txt /message.txt
RUN echo debug > /flavour
ENTRYPOINT ["/bin/sh"]

FROM {base}
LABEL org.opencontainers.image.title="sample"
COPY --from=build /out/message.txt /message.txt
COPY serve.sh /serve.sh
ENTRYPOINT ["/serve.sh"]
"""
SERVE = """\
#!/bin/sh
# Shows what the build put into the image.
exec cat /message.txt
"""


def base_image(registry: Registry) -> str:
    """The name under which the samples find their base image."""
    return f"{registry.address}/base:latest"


def provide_base_image(engine: Engine, registry: Registry) -> None:
    """Pushes the base image unless the registry has it already."""
    busybox = Path(find_program("busybox"))
    tag = hashlib.sha256(
        (DOCKERFILE_DIR / "Dockerfile").read_bytes() + busybox.read_bytes()
    ).hexdigest()[:12]
    engine.log_in(registry.address, registry.username, registry.password)
    if tag in registry.tags("base"):
        return
    # Pushed in this order, so that half a push is pushed again.
    names = [base_image(registry), f"{registry.address}/base:{tag}"]
    with tempfile.TemporaryDirectory(prefix="builder-base-") as folder:
        context = Path(folder)
        (context / "rootfs.tar").write_bytes(_root_file_system(busybox))
        (context / "Dockerfile").write_bytes((DOCKERFILE_DIR / "Dockerfile").read_bytes())
        tags = [word for name in names for word in ("--tag", name)]
        engine.docker("build", *tags, str(context))
    for name in names:
        engine.docker("push", "--quiet", name)


def _root_file_system(busybox: Path) -> bytes:
    """A tar of busybox and a link for each of its tools; the same bytes for the same busybox."""
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
            archive.addfile(entry, io.BytesIO(data))

        for directory in ("bin", "etc", "root", "var"):
            add(directory, tarfile.DIRTYPE, 0o755)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        add("bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        for tool in sorted(set(listed.stdout.split()) - {"busybox"}):
            add(f"bin/{tool}", tarfile.SYMTYPE, 0o777, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, 0o644, b"root:x:0:0:root:/root:/bin/sh\n")
        add("etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\n")
    return buffer.getvalue()


def sample_files(base: str) -> dict[str, str | bytes]:
    """The sample repository's first commit."""
    return {
        "Dockerfile": DOCKERFILE.format(base=base),
        "message.txt": "built by builder-framework\n",
        "serve.sh": SERVE,
        "README.md": "A sample for the dev cluster of builder-framework.\n",
    }


def provide_repositories(git: GitServer, base: str) -> None:
    """Makes the public and the private sample unless they are there: people commit to them."""
    files = sample_files(base)
    if git.read(PUBLIC, "Dockerfile") is None:
        git.create_repository(PUBLIC, files)
        git.commit(PUBLIC, {"version.txt": "1.0.0\n"}, tag=TAG)
        git.commit(PUBLIC, {"message.txt": "built from a branch\n"}, branch=FEATURE_BRANCH)
    if git.read(PRIVATE, "Dockerfile") is None:
        git.create_repository(PRIVATE, files, private=True)
    for name in (PUBLIC, PRIVATE):
        dockerfile = git.read(name, "Dockerfile") or ""
        if base not in dockerfile:  # the registry has got another port since
            renamed = re.sub(r"(?m)^FROM \S+/base:latest", f"FROM {base}", dockerfile)
            git.commit(name, {"Dockerfile": renamed})
