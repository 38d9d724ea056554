"""No answer of a real process is a defect, or other than the document says.

`make api-fuzz N=200 SEED=7` asks longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.framework import PASSWORD, USER, framework

EXAMPLES = os.environ.get("BUILDER_FUZZ_EXAMPLES", "3")
SEED = os.environ.get("BUILDER_FUZZ_SEED", "7")
HOUR = 3600.0

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
)
"""Not positive_data_acceptance: grammars (of git refs, images, paths) say more than JSON Schema."""

BODY = {
    "source": {"git": {"url": "https://git.example.org/app.git"}},
    "images": ["registry.example.org/app:1"],
}


@pytest.mark.timeout(HOUR)
def test_the_api_is_what_its_document_says(tmp_path: Path) -> None:
    with framework(tmp_path) as running:
        client = running.client()
        build = client.submit(BODY)["id"]
        client.cancel(build)  # over, so that its log streams end
        client.put_project("shop", {})
        # Ids that are there: random ones would only ever find the answers for what is not.
        (tmp_path / "schemathesis.toml").write_text(
            f'[parameters]\n"path.build_id" = "{build}"\n"path.project" = "shop"\n'
            # There is no master, and it says so.
            '[[operations]]\ninclude-operation-id = "isReady"\n'
            'checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]\n'
        )
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(tmp_path / "schemathesis.toml")),
                *("run", f"{running.url}/openapi.json"),
                *("--auth", f"{USER}:{PASSWORD}"),
                *("--phases", "examples,coverage,fuzzing"),
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", EXAMPLES),
                *("--seed", SEED),
                *("--request-timeout", "20"),
                *("--exclude-operation-id", "fetchUpload"),
                # One: two threads that describe strategies at once break CPython 3.11's parser
                # ("AST constructor recursion depth mismatch").
                *("--workers", "1"),
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{done.stdout[-20000:]}\n{done.stderr[-5000:]}"
        assert done.returncode == 0, said
        log = running.log.read_text(encoding="utf-8", errors="replace")
    assert "unexpected error" not in log, log[-5000:]
    assert PASSWORD not in log
