"""A list of what is in the image, beside it, made by the generator that the operator chose."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import Cluster
from tests.golden.test_networks import framework_with
from tests.integration.harness import pull

# BuildKit's protocol for generators (docs/attestations/sbom-protocol.md): a statement of in-toto
# for each thing that was scanned, in a directory of which a variable tells. This one lists files.
SCAN = r"""#!/bin/sh
set -e
for file in $(cd "$BUILDKIT_SCAN_SOURCE" && ls); do
  packages="$packages${packages:+, }{\"name\": \"$file\"}"
done
cat > "$BUILDKIT_SCAN_DESTINATION/scan.spdx.json" <<END
{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document",
 "subject": [], "predicate": {"spdxVersion": "SPDX-2.3", "packages": [$packages]}}
END
"""


@pytest.mark.slow
def test_what_is_in_the_image_is_listed_beside_it(cluster: Cluster, tmp_path: Path) -> None:
    """Asked for by one field; without it there is none."""
    with framework_with(cluster, tmp_path / "1") as (framework, name):
        generator = f"{cluster.registry.address}/{name}-scanner:1"
        files = {
            "Dockerfile": f'FROM {cluster.base_image}\nCOPY --chmod=755 scan /\nCMD ["/scan"]\n',
            "scan": SCAN,
        }
        url = cluster.git.create_repository(f"{name}-scanner", files)
        framework.succeeded(framework.submit(url, f"{name}-scanner:1"))
    with framework_with(cluster, tmp_path / "2", BUILDER_SBOM_GENERATOR=generator) as (own, name):
        lines = (
            f"FROM {cluster.base_image} AS base",
            "FROM scratch",
            "COPY --from=base /bin/sh /it",
        )
        url = cluster.git.create_repository(name, {"Dockerfile": "\n".join([*lines, ""])})
        build = own.succeeded(own.submit(url, f"{name}:1", sbom=True))
        image = pull(cluster, name, "1")
        assert image.digest == build["result"]["digest"]
        (statement,) = image.attestations
        assert statement["predicateType"] == "https://spdx.dev/Document"
        assert statement["predicate"]["packages"] == [{"name": "it"}]
        own.succeeded(own.submit(url, f"{name}:2"))
        assert pull(cluster, name, "2").attestations == []
