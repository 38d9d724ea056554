"""Fixtures that every suite may use: `cluster` is a dev cluster of the tests' own."""

from __future__ import annotations

pytest_plugins = ["devcluster.pytest_plugin"]
