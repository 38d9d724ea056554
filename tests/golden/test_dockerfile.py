"""What a Dockerfile of today needs, each in a small repository, seen in the image that came out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.samples import PUBLIC
from tests.golden.conftest import Golden
from tests.integration.harness import Image, pull

pytestmark = pytest.mark.integration

SECRET = "canary-7fK2pQ9x"


def text(image: Image, path: str) -> str:
    return image.files[path].decode().strip()


def test_a_secret_is_there_for_its_step_and_nowhere_after(golden: Golden) -> None:
    url = golden.create(
        "RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size",
        "RUN --mount=type=secret,id=token cat /run/secrets/token",
        "RUN test ! -e /run/secrets/token",
    )
    image = golden.make(url, secrets={"token": SECRET})
    assert text(image, "size") == str(len(SECRET))
    assert SECRET not in json.dumps(image.config)
    assert not [path for path, content in image.files.items() if SECRET.encode() in content]
    assert SECRET not in golden.log()
    assert "***" in golden.log()
    assert golden.build["secrets"] == {"token": "***"}


def with_openssh(cluster: Cluster, folder: Path) -> str:
    """An image with the machine's own `ssh-add` and what it is linked with; its reference."""
    libraries = subprocess.run(["ldd", "/usr/bin/ssh-add"], check=True, capture_output=True)
    wanted = {path for path in libraries.stdout.decode().split() if path.startswith("/")}
    lines = [f"FROM {cluster.base_image}"]
    for number, path in enumerate(sorted({*wanted, "/usr/bin/ssh-add"})):
        shutil.copy(path, folder / str(number))
        lines.append(f"COPY {number} {path}")
    (folder / "Dockerfile").write_text("\n".join(lines))
    image = f"{cluster.registry.address}/with-openssh:1"
    cluster.engine.docker("build", "--quiet", "--tag", image, str(folder))
    cluster.engine.docker("push", "--quiet", image)
    return image


def test_a_key_may_be_used_but_not_be_read(
    golden: Golden, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "golden", "-f", str(path)]
    subprocess.run(keygen, check=True)
    base = with_openssh(golden.cluster, tmp_path_factory.mktemp("openssh"))
    url = golden.create("RUN --mount=type=ssh ssh-add -L > /keys", "RUN ! ssh-add -L", base=base)
    image = golden.make(url, ssh={"default": path.read_text()})
    assert text(image, "keys").split()[1] == path.with_suffix(".pub").read_text().split()[1]


def test_heredocs(golden: Golden) -> None:
    url = golden.create("RUN <<EOF", "set -e", "echo one > /one", "echo two >> /one", "EOF")
    assert text(golden.make(url), "one") == "one\ntwo"


def test_build_args_and_target_reach_the_dockerfile(golden: Golden) -> None:
    url = golden.cluster.git.clone_url(PUBLIC)
    image = golden.make(url, build_args={"GREETING": "good morning"}, target="debug")
    assert text(image, "message.txt").startswith("good morning\n")
    assert text(image, "flavour") == "debug"
    assert image.config["config"]["Entrypoint"] == ["/bin/sh"]


def test_a_cache_mount_lasts_over_builds(golden: Golden) -> None:
    mount = f"--mount=type=cache,id={golden.name},target=/c"
    url = golden.create("ARG N", f"RUN {mount} echo $N >> /c/n && cp /c/n /n")
    here = [["rack", "EQUALS", "a"]]
    golden.make(url, build_args={"N": "1"}, constraints=here)
    image = golden.make(url, build_args={"N": "2"}, constraints=here)
    assert text(image, "n") == "1\n2"


def test_no_cache_runs_every_step_again(golden: Golden) -> None:
    url = golden.create("RUN cat /proc/sys/kernel/random/uuid > /id")
    here = [["rack", "EQUALS", "a"]]
    first = text(golden.make(url, constraints=here), "id")
    assert text(golden.make(url, constraints=here), "id") == first
    assert text(golden.make(url, constraints=here, no_cache=True), "id") != first


def test_hosts_are_known_to_steps(golden: Golden) -> None:
    url = golden.create("ARG WORD", "RUN grep db.example /etc/hosts > /h && echo $WORD > /w")
    image = golden.make(url, add_hosts={"db.example": "192.0.2.7"}, build_args={"WORD": "a b"})
    assert text(image, "h").split() == ["192.0.2.7", "db.example"]
    assert text(image, "w") == "a b"


def test_shared_memory_has_the_size_asked_for(golden: Golden) -> None:
    url = golden.create("RUN df -m /dev/shm | tail -n 1 > /shm")
    assert text(golden.make(url, shm_size=17), "shm").split()[1] == "17"


def test_steps_may_be_without_a_network(golden: Golden) -> None:
    url = golden.create("RUN ls /sys/class/net > /nets")
    assert text(golden.make(url, network="none"), "nets") == "lo"


def _digest_of_base(golden: Golden) -> str:
    name, _, tag = golden.cluster.base_image.partition("/")[2].rpartition(":")
    return pull(golden.cluster, name, tag).digest


def test_labels_and_annotations(golden: Golden) -> None:
    url = golden.create("RUN true")
    image = golden.make(
        url,
        source={"ref": "main"},
        image_labels={"team": "a", "org.opencontainers.image.vendor": "b ${x}"},
        annotations={"org.opencontainers.image.title": "c %{y}"},
    )
    commit = golden.build["result"]["commit"]
    standard = {
        "org.opencontainers.image.source": url,
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.version": "1",
        "org.opencontainers.image.ref.name": "main",
        "org.opencontainers.image.created": "2024-01-01T00:00:00Z",
        "org.opencontainers.image.base.name": golden.cluster.base_image,
        "org.opencontainers.image.base.digest": _digest_of_base(golden),
    }
    labels = image.config["config"]["Labels"]
    assert labels == {**standard, "team": "a", "org.opencontainers.image.vendor": "b ${x}"}
    assert image.manifest["annotations"] == {
        **standard,
        "org.opencontainers.image.title": "c %{y}",
    }
    bare = golden.make(url, "2", standard_labels=False)
    assert not bare.config["config"].get("Labels")
    assert not bare.manifest.get("annotations")


def test_the_same_commit_gives_the_same_digest_anywhere(golden: Golden) -> None:
    """Built cold on each of two agents, with the times of the source."""
    url = golden.create("RUN echo content > /file && touch /another")
    images = [
        golden.make(url, timestamp="source", constraints=[["rack", "EQUALS", rack]], no_cache=True)
        for rack in ("a", "b")
    ]
    assert images[0].digest == images[1].digest
    assert images[0].config["created"].startswith("2024-01-01T00:00:00")


def test_several_platforms_make_an_index(golden: Golden) -> None:
    files = {"hello": "hello\n"}
    url = golden.cluster.git.create_repository(
        golden.name, {"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY hello /\n", **files}
    )
    image = golden.make(url, platforms=["linux/amd64", "linux/arm64"])
    told = [m["platform"]["architecture"] for m in image.index["manifests"]]
    assert sorted(told) == ["amd64", "arm64"]
    assert golden.build["result"]["digest"] == image.digest


def test_a_platform_without_an_emulator_is_told(golden: Golden) -> None:
    """What cannot be executed here is what another machine's program is."""
    files = {"Dockerfile": 'FROM scratch\nCOPY --chmod=755 program /\nRUN ["/program"]\n'}
    program = "no program of this machine\n"
    url = golden.cluster.git.create_repository(golden.name, {**files, "program": program})
    build = golden.framework.failed(
        golden.framework.submit(url, f"{golden.name}:1", platforms=["linux/s390x"]),
        "platform_unsupported",
    )
    assert "linux/s390x" in build["message"]


def test_provenance_stands_beside_the_image(golden: Golden) -> None:
    url = golden.create("RUN --mount=type=secret,id=token true")
    image = golden.make(url, provenance="max", secrets={"token": SECRET})
    kinds = [
        m.get("annotations", {}).get("vnd.docker.reference.type") for m in image.index["manifests"]
    ]
    assert kinds == [None, "attestation-manifest"]
    assert "slsa.dev/provenance" in json.dumps(image.attestations)
    assert SECRET not in json.dumps(image.attestations)


def test_another_agent_finds_the_cache_in_the_registry(golden: Golden) -> None:
    url = golden.create("RUN cat /proc/sys/kernel/random/uuid > /id", "RUN true")
    first, second = (
        golden.make(url, rack, registry_cache=True, constraints=[["rack", "EQUALS", rack]])
        for rack in ("a", "b")
    )
    assert text(second, "id") == text(first, "id")
    assert golden.build["result"]["steps"] == {"total": 2, "cached": 2}, golden.log()


def test_a_cache_that_cannot_be_had_or_kept_fails_no_build(golden: Golden) -> None:
    nowhere = "127.0.0.1:1/no/cache:here"
    url = golden.create("RUN true")
    golden.make(url, cache_from=[nowhere], cache_to=nowhere)


def test_a_result_counts_layers_and_steps(golden: Golden) -> None:
    url = golden.create("RUN echo a > /a", "RUN echo b > /b", "LABEL c=d")
    here = [["rack", "EQUALS", "a"]]
    golden.make(url, constraints=here)
    result = golden.build["result"]
    assert result["steps"] == {"total": 2, "cached": 0}
    assert result["layers"] == len(golden.make(url, "2", constraints=here).manifest["layers"])
    assert golden.build["result"]["steps"] == {"total": 2, "cached": 2}
