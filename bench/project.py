"""The project that is built: dependencies that take long to install, and sources that change."""

from __future__ import annotations

import subprocess
import time

from devcluster.engine import find_program
from devcluster.git import Files, GitServer

DEPENDENCIES = ("alpha", "beta", "gamma", "delta")
SOURCES = 200
DEPENDENCY_BYTES = 4 * 1024 * 1024
"""Of each; random, so that neither gzip nor the registry makes them cheaper than real ones."""

INSTALL_SECONDS = 18.0
COMPILE_SECONDS = 1.0
"""Of one core that does nothing else."""

_SAMPLE_MIB = 512

_DOCKERFILE = """\
FROM {base}
WORKDIR /app
COPY dependencies.txt ./
RUN mkdir lib && while read name; do \\
        head -c {bytes} /dev/urandom > lib/$name && \\
        dd if=/dev/zero bs=1M count={install} 2>/dev/null | md5sum > lib/$name.sum || exit 1; \\
    done < dependencies.txt
COPY src/ src/
RUN cat src/* | md5sum > out && dd if=/dev/zero bs=1M count={compile} 2>/dev/null | md5sum >> out
CMD ["cat", "/app/out"]
"""


def speed() -> float:
    """MiB/s of md5sum on one core of this machine: the best of three."""
    busybox = find_program("busybox")
    command = f"{busybox} dd if=/dev/zero bs=1M count={_SAMPLE_MIB} | {busybox} md5sum"
    best = 0.0
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        best = max(best, _SAMPLE_MIB / (time.monotonic() - began))
    return best


def files(base: str, mib_per_second: float) -> Files:
    """The first commit: work for INSTALL_SECONDS and COMPILE_SECONDS at this speed."""
    dockerfile = _DOCKERFILE.format(
        base=base,
        bytes=DEPENDENCY_BYTES,
        install=int(mib_per_second * INSTALL_SECONDS / len(DEPENDENCIES)),
        compile=int(mib_per_second * COMPILE_SECONDS),
    )
    sources = {f"src/{n:03}.c": f"int f{n}(void) {{ return {n}; }}\n" for n in range(SOURCES)}
    return {
        "Dockerfile": dockerfile,
        "dependencies.txt": "".join(f"{name}\n" for name in DEPENDENCIES),
        "src/main.c": "int main(void) { return 0; }\n",
        **sources,
    }


def change(git: GitServer, name: str, number: int) -> None:
    """Commit another content of one source file."""
    git.commit(name, {"src/main.c": f"int main(void) {{ return {number}; }}\n"})


def alias(git: GitServer, name: str, number: int) -> str:
    """Another URL of the same repository, which is another source to the framework.

    With `BUILDER_CACHE_SHARING=repository` each has caches of its own: cold ones at first.
    """
    return f"{git.url}/slow/0.{'0' * number}/{name}.git" if number else git.clone_url(name)
