"""The key of databases that tests make."""

from __future__ import annotations

from builder_framework.seal import Sealer

TEST_KEY = b"a key of nothing but test values"
SEALER = Sealer([TEST_KEY])
