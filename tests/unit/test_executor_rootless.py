"""An engine without privilege is another user of the cache's directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import rootless


def test_a_directory_that_is_closed_to_others_is_named_with_the_mend(tmp_path: Path) -> None:
    """The volume's root is the operator's: its mode is not for us to change."""
    folder = Path("/usr/share")
    rootless.check_way(folder / "nothing" / "docker")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PermissionError, match=r"closed.*chmod o\+x"):
        rootless.check_way(closed / "engines" / "0")
