"""An image says what it is based upon, and that is true."""

from __future__ import annotations

from tests.golden.conftest import Golden
from tests.integration.harness import pull

NAME = "org.opencontainers.image.base.name"
DIGEST = "org.opencontainers.image.base.digest"


def test_base_image_by_name_and_digest(golden: Golden) -> None:
    """Of the last stage, by way of others and of a build argument; also in the annotations."""
    base = golden.cluster.base_image
    name, _, tag = base.rpartition(":")
    repository = name.partition("/")[2]
    url = golden.cluster.git.create_repository(
        golden.name,
        {
            "Dockerfile": f"ARG TAG=none\nFROM scratch AS other\nFROM {name}:$TAG AS run\n"
            f"ENV TEST={golden.name}\nFROM run\nRUN echo made > /made\n"
        },
    )
    image = golden.make(url, "1", build_args={"TAG": tag})
    digest = pull(golden.cluster, repository, tag).digest
    for told in (image.config["config"]["Labels"], image.manifest["annotations"]):
        assert (told[NAME], told[DIGEST]) == (base, digest)
    assert image.files["made"] == b"made\n"
    # BuildKit took what the registry was asked for, and did not ask for the tag itself.
    assert f"[context {name if tag == 'latest' else base}]" in golden.log()
    assert f"load metadata for {base}" not in golden.log()
    golden.make(url, "2", build_args={"TAG": tag})
    assert golden.build["result"]["steps"]["cached"] == golden.build["result"]["steps"]["total"]


def test_nothing_is_said_where_it_is_not_certain(golden: Golden) -> None:
    url = golden.cluster.git.create_repository(
        golden.name, {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}
    )
    labels = golden.make(url).config["config"]["Labels"]
    assert not {NAME, DIGEST} & set(labels)
    assert DIGEST not in str(golden.make(url, "2", standard_labels=False).config)
