"""Pages that follow from the code are up to date, and what is deployed names real settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from api import schemas
from builder_framework import config
from builder_framework.cli import submit
from docs import generate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    """`make docs` writes it anew."""
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == generate.PAGES[page]()


def test_marathon_json_starts_a_framework() -> None:
    """Every variable of the app is a setting, and together they make a valid configuration."""
    app = json.loads((ROOT / "marathon.json").read_text())
    for variable in app["env"]:
        assert variable.removeprefix("BUILDER_").lower() in config.Settings.model_fields
    settings = config.load(app["env"])
    (port,) = app["container"]["docker"]["portMappings"]
    assert settings.http_port == port["containerPort"]
    assert str(settings.data_dir) in [v["containerPath"] for v in app["container"]["volumes"]]
    # Two of us with one framework id would take the subscription from each other for ever.
    assert app["instances"] == 1
    assert app["upgradeStrategy"] == {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_pages_name_every_flag_and_every_field() -> None:
    """What people can ask for and nobody tells them of is as good as missing."""
    words = {
        page: (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("cli.md", "api.md")
    }
    flags = {flag for option in submit.submit.params for flag in option.opts if flag[:2] == "--"}
    assert flags >= {"--image", "--dedupe"}
    assert [x for x in sorted(flags) if not re.search(rf"{x}(?![\w-])", words["cli.md"])] == []
    fields = {name for name in schemas.BuildBody.model_fields if name != "source"}
    assert [name for name in sorted(fields) if f"`{name}`" not in words["api.md"]] == []
