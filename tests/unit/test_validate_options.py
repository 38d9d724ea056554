"""What a build's options may be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder_framework import validate_options as options
from builder_framework.errors import InvalidValueError


@pytest.mark.parametrize(
    ("check", "given", "normal"),
    [
        (options.mount_id, "npm_token.1", "npm_token.1"),
        (options.secret_value, "a\0b", "a\0b"),
        (options.host_name, "DB.Example_1", "db.example_1"),
        (options.ip_address, "FE80::0001", "fe80::1"),
        (options.platform, "Linux/ARM/v7", "linux/arm/v7"),
        (options.registry, "index.docker.io", "docker.io"),
        (options.registry, "Registry.example:5000", "registry.example:5000"),
        (options.registry, "localhost", "localhost"),
        (options.timestamp, "0", "0"),
        (options.timestamp, "source", "source"),
    ],
)
def test_good_values(check: Callable[[str], str], given: str, normal: str) -> None:
    assert check(given) == normal
    assert check(normal) == normal


@pytest.mark.parametrize(
    ("check", "given"),
    [
        (options.mount_id, ""),
        (options.mount_id, "-a"),
        (options.mount_id, "a=b"),
        (options.mount_id, "a\n"),
        (options.secret_value, "\ud800"),
        (options.host_name, "a..b"),
        (options.host_name, "a" * 254),
        (options.ip_address, "10.0.0.256"),
        (options.platform, "canary"),
        (options.platform, "linux/amd64,linux/arm64"),
        (options.registry, "canary"),
        (options.registry, "example.org/x"),
        (options.registry, "example.org:0"),
        (options.timestamp, "-1"),
        (options.timestamp, "01"),
    ],
)
def test_bad_values_are_not_repeated(check: Callable[[str], str], given: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        check(given)
    assert len(given) < 3 or given not in caught.value.message


@pytest.mark.parametrize("size", [0, options.MAX_SHM_MIB + 1])
def test_shm_sizes_have_limits(size: int) -> None:
    with pytest.raises(InvalidValueError):
        options.shm_size(size)
    assert options.shm_size(64) == 64
