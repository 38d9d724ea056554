"""The executor image: built on the cluster's engine, and again only when one of its inputs changed.

Python packages are resolved here, with this machine's pip and its configuration, for the image's
Python; the build itself then needs no network. Their wheels are cached by what was asked for.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from devcluster import baseimage
from devcluster.config import REPOSITORY, cache_directory
from devcluster.engine import Engine
from devcluster.errors import ClusterError
from devcluster.progress import Progress

IMAGE = "builder-executor:dev"
#: The image that all packages are in; only its Python's version is asked for.
PACKAGES_IMAGE = "builder-executor-packages"
LABEL = "builder-framework.inputs"
COMPAT = REPOSITORY / "compat" / "http-parser"
LOCK = REPOSITORY / "requirements.lock"
#: What the executor shares with the framework (and what the Dockerfile copies).
SHARED = (
    "__init__",
    "codec",
    "errors",
    "protocol",
    "recipe",
    "recordio",
    "redact",
    "validate",
    "validate_git",
    "validate_archive",
    "validate_options",
)
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")


def provide(engine: Engine, progress: Progress) -> str:
    """Builds the image unless the engine has it as it would be built now; returns its name."""
    base = baseimage.provide(engine, progress)
    key = _hash([base.encode(), *_contents(_inputs())])
    if _label(engine) == key:
        return IMAGE
    progress("building the executor image")
    with tempfile.TemporaryDirectory(prefix="builder-executor-") as folder:
        context = Path(folder)
        _lay_out(context)
        base_argument = f"BASE={base}"
        (context / "compat").mkdir(exist_ok=True)
        _build(engine, context, base_argument, "--target", "packages", "--tag", PACKAGES_IMAGE)
        wheels = _wheels(_python_version(engine), progress)
        shutil.copytree(wheels, context / "compat" / "wheels")
        _build(engine, context, base_argument, "--label", f"{LABEL}={key}", "--tag", IMAGE)
    return IMAGE


def _build(engine: Engine, context: Path, argument: str, *words: str) -> None:
    dockerfile = str(context / "executor" / "Dockerfile")
    engine.docker("build", "-f", dockerfile, "--build-arg", argument, *words, str(context))


def _inputs() -> list[Path]:
    sources = (REPOSITORY / "executor").rglob("*")
    shared = (REPOSITORY / "builder_framework" / f"{name}.py" for name in SHARED)
    files = [*sources, *shared, *_package_files(COMPAT)]
    return sorted(path for path in files if path.is_file() and "__pycache__" not in path.parts)


def _package_files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        inside = path.relative_to(directory).parts
        if path.is_file() and inside[0] != "build" and ".egg-info" not in str(path):
            yield path


def _contents(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        yield str(path.relative_to(REPOSITORY)).encode()
        yield path.read_bytes()


def _hash(pieces: list[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()[:16]


def _label(engine: Engine) -> str | None:
    """The key that the present image was built from, or None when there is none."""
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    try:
        return engine.docker("image", "inspect", "--format", template, IMAGE).strip()
    except ClusterError:
        return None


def _lay_out(context: Path) -> None:
    """The build context: the repository's layout with nothing but the inputs in it."""
    for path in _inputs():
        target = context / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def _python_version(engine: Engine) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    words = ["run", "--rm", "--network", "none", PACKAGES_IMAGE, "python3", "-c", code]
    return engine.docker(*words).strip()


def _wheels(python: str, progress: Progress) -> Path:
    """A directory with every wheel that the image needs, complete as soon as it exists."""
    requirements = baseimage.build_argument("REQUIREMENTS").split()
    compat = list(_contents(sorted(_package_files(COMPAT))))
    key = _hash(
        [python.encode(), LOCK.read_bytes(), *(word.encode() for word in requirements), *compat]
    )
    directory = cache_directory() / f"wheels-{key}"
    if directory.exists():
        return directory
    progress(f"resolving the executor's Python packages for Python {python}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".wheels-") as folder:
        made = Path(folder, "made")
        # A copy, because setuptools builds in the source tree.
        source = shutil.copytree(COMPAT, Path(folder, "http-parser"))
        pymesos = next(word for word in requirements if word.startswith("pymesos"))
        # pymesos is released as source only; pure Python, so one wheel fits every version.
        _pip("wheel", "--no-deps", "--wheel-dir", str(made), str(source), pymesos)
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        target = ["--implementation", "cp", "--python-version", python, *platforms]
        places = ["--find-links", str(made), "--dest", str(made)]
        locked = ["-c", str(LOCK)]
        _pip("download", "--only-binary=:all:", *locked, *target, *places, *requirements)
        made.rename(directory)
    return directory


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ClusterError(f"`pip {arguments[0]}` failed: {last}")
