"""Settings are checked together before anything starts, and never show their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder_framework import config
from builder_framework.errors import ConfigError
from builder_framework.redact import Secret
from tests.sealing import TEST_KEY

GOOD = {
    "BUILDER_MESOS_MASTER": "10.0.0.1:5050",
    "BUILDER_EXECUTOR_IMAGE": "registry.example.org/builder-executor:1",
    "BUILDER_USERNAME": "ann",
    "BUILDER_PASSWORD": "hunter2-hunter2",
}


def problems(environment: dict[str, str], file: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(environment, file)
    return {problem.field: problem.problem for problem in caught.value.problems}


def test_the_least_that_is_needed_is_enough() -> None:
    settings = config.load(GOOD)
    assert settings.http_host == "127.0.0.1"
    assert settings.database() == "sqlite:///data/builder.db"
    assert settings.request_policy().git_protocols == ("https", "ssh")


def test_networks_that_builds_may_ask_for() -> None:
    """The operator's own is one of them; without any an executor could not work."""
    told = {"BUILDER_EXECUTOR_NETWORK": "weave", "BUILDER_EXECUTOR_NETWORKS": "bridge,weave,lab_1"}
    assert config.load(GOOD | told).request_policy().networks == ("weave", "BRIDGE", "lab_1")
    assert config.load(GOOD).request_policy().networks == ("BRIDGE",)
    found = problems(
        GOOD | {"BUILDER_EXECUTOR_NETWORK": "none", "BUILDER_EXECUTOR_NETWORKS": "ok,--privileged"}
    )
    assert "cannot talk to their agent" in found["executor_network"]
    assert "no name of a Docker network" in found["executor_networks"]


@pytest.mark.parametrize("field", ["executor_network", "executor_networks"])
def test_an_engine_with_a_bridge_of_its_own_needs_a_network_of_its_own(field: str) -> None:
    """Two engines in one network namespace set up the same docker0."""
    host = GOOD | {f"BUILDER_{field.upper()}": "host"}
    assert "bridge and iptables" in problems(host)[field]
    assert (
        "bridge"
        in problems(host | {"BUILDER_ENGINE": "socket", "BUILDER_ENGINES": "nested"})[field]
    )
    alone = host | {"BUILDER_ENGINE": "rootless", "BUILDER_ENGINES": "socket"}
    assert "HOST" in config.load(alone).request_policy().networks


def test_all_faults_are_told_at_once() -> None:
    bad = GOOD | {
        "BUILDER_MESOS_MASTER": "nowhere",
        "BUILDER_HTTP_PORT": "eighty",
        "BUILDER_MAX_TIMEOUT": "-1",
        "BUILDER_GIT_PROTOCOLS": "https,gopher",
    }
    del bad["BUILDER_EXECUTOR_IMAGE"]
    assert set(problems(bad)) == {
        "mesos_master",
        "executor_image",
        "http_port",
        "max_timeout",
        "git_protocols",
    }


def test_a_fault_does_not_show_what_was_given() -> None:
    told = problems(GOOD | {"BUILDER_MESOS_MASTER": "user:hunter2@h"})
    assert "hunter2" not in str(told)


def test_a_public_address_without_tls_is_refused() -> None:
    """Basic auth on a public address shows every password to the network."""
    told = problems(GOOD | {"BUILDER_HTTP_HOST": "0.0.0.0"})
    assert "TLS" in told["settings"]
    config.load(GOOD | {"BUILDER_HTTP_HOST": "0.0.0.0", "BUILDER_BEHIND_TLS_PROXY": "true"})


@pytest.mark.parametrize("master", ["m1:5050,m2:5050", "[::1]:5050", "zk://u:p@zk1:2181/mesos"])
def test_a_master_may_be_several_or_in_zookeeper(master: str, tmp_path: Path) -> None:
    assert config.load(GOOD | {"BUILDER_MESOS_MASTER": master}).mesos_master == master
    secret = tmp_path / "master"
    secret.write_text(master + "\n")
    from_file = {k: v for k, v in GOOD.items() if k != "BUILDER_MESOS_MASTER"}
    settings = config.load(from_file | {"BUILDER_MESOS_MASTER_FILE": str(secret)})
    assert settings.mesos_master == master
    assert master not in repr(settings)


def test_a_url_as_master_is_told_how_tls_is_set() -> None:
    told = problems(GOOD | {"BUILDER_MESOS_MASTER": "https://m1:5050"})
    assert "mesos_tls" in told["mesos_master"]


@pytest.mark.parametrize(
    "changes",
    [{"BUILDER_USERS_FILE": "/etc/builder/users"}, {"BUILDER_PASSWORD": None}],
)
def test_users_come_from_exactly_one_place(changes: dict[str, str | None]) -> None:
    merged = {k: v for k, v in (GOOD | changes).items() if v is not None}
    assert problems(merged)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "builder.toml"
    file.write_text('mesos_master = "10.0.0.9:5050"\nslots_per_agent = 3\nengine = "socket"\n')
    settings = config.load(GOOD, file)
    assert settings.mesos_master == "10.0.0.1:5050"
    assert settings.slots_per_agent == 3
    assert config.load(GOOD | {"BUILDER_CONFIG": str(file)}).slots_per_agent == 3


def test_a_misspelt_setting_is_named_with_the_right_one(tmp_path: Path) -> None:
    file = tmp_path / "builder.toml"
    file.write_text("slots_per_agnet = 3\n")
    told = problems(GOOD, file)
    assert told == {"slots_per_agnet": "is no setting; did you mean slots_per_agent?"}


def test_a_misspelt_variable_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Only warned about: other tools may use the prefix too."""
    config.load(GOOD | {"BUILDER_MESOS_MASTR": "x"})
    assert "did you mean BUILDER_MESOS_MASTER?" in caplog.text


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter3-hunter3\n")
    environment = GOOD | {"BUILDER_PASSWORD_FILE": str(secret)}
    del environment["BUILDER_PASSWORD"]
    settings = config.load(environment)
    assert settings.password is not None
    assert settings.password.get_secret_value() == "hunter3-hunter3"
    assert "hunter3" not in repr(settings) + str(settings)
    assert problems(GOOD | {"BUILDER_PASSWORD_FILE": str(tmp_path / "none")})


KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_webhooks_are_checked_before_anything_starts() -> None:
    settings = config.load(
        GOOD
        | {
            "BUILDER_WEBHOOKS": "https://HOOKS.example.org/t0ken, http://10.0.0.5:9000",
            "BUILDER_WEBHOOK_SECRET": f"{KEY},{KEY}",
            "BUILDER_WEBHOOK_HOSTS": "*.example.org,http://h:8080",
        }
    )
    assert settings.webhooks == ("https://hooks.example.org/t0ken", "http://10.0.0.5:9000/")
    assert [key.reveal() for key in settings.webhook_keys()] == [KEY, KEY]
    assert settings.request_policy().webhook_hosts == ("*.example.org", "http://h:8080")
    assert "t0ken" not in repr(settings)
    assert config.load(GOOD).webhook_keys() == ()


def test_faults_in_webhooks_are_told_without_their_secrets() -> None:
    told = problems(
        GOOD
        | {
            "BUILDER_WEBHOOKS": "https://user:t0ken@hooks.example.org/",
            "BUILDER_WEBHOOK_SECRET": "t0ken",
            "BUILDER_WEBHOOK_HOSTS": "*",
        }
    )
    assert set(told) == {"webhooks", "webhook_secret", "webhook_hosts"}
    assert "t0ken" not in str(told)


@pytest.mark.parametrize(
    "setting", [{"BUILDER_WEBHOOKS": "https://h/"}, {"BUILDER_WEBHOOK_HOSTS": "h"}]
)
def test_webhooks_need_a_secret(setting: dict[str, str]) -> None:
    assert "webhook_secret" in problems(GOOD | setting)["settings"]
    config.load(GOOD | setting | {"BUILDER_WEBHOOK_SECRET": KEY})


def test_webhooks_and_their_secret_may_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "urls").write_text("https://h/a,https://h/b\n")
    settings = config.load(
        GOOD
        | {
            "BUILDER_WEBHOOKS_FILE": str(tmp_path / "urls"),
            "BUILDER_WEBHOOK_SECRET_FILE": str(tmp_path / "key"),
        }
    )
    assert settings.webhooks == ("https://h/a", "https://h/b")
    assert len(settings.webhook_keys()) == 1


SERVER = {"BUILDER_DATABASE_URL": "postgresql://builder:hunter2@db/builder"}


def test_a_server_needs_a_key_that_its_processes_share() -> None:
    """Each would seal with a key of its own else."""
    told = problems(GOOD | SERVER)["settings"]
    assert "BUILDER_SECRET_KEY" in told
    assert "`builder db key`" in told
    assert "hunter2" not in told
    settings = config.load(GOOD | SERVER | {"BUILDER_SECRET_KEY": TEST_KEY.hex()})
    assert settings.storage().key == Secret(TEST_KEY.hex())
    assert TEST_KEY.hex() not in repr(settings)
    assert TEST_KEY.hex() not in repr(settings.storage())
    assert "hunter2" not in repr(settings.storage())
    assert config.load(GOOD).storage().key is None


def test_a_key_is_checked_before_anything_starts_and_not_shown() -> None:
    told = problems(GOOD | {"BUILDER_SECRET_KEY": "hunter2"})
    assert "32 random bytes as base64" in told["secret_key"]
    assert "hunter2" not in told["secret_key"]


def test_a_key_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(TEST_KEY.hex() + "\n")
    environment = GOOD | SERVER | {"BUILDER_SECRET_KEY_FILE": str(tmp_path / "key")}
    assert config.load(environment).storage() == config.storage(environment)


def test_every_launch_that_fails_may_cost_an_attempt() -> None:
    """With 0; less than that means nothing."""
    assert config.load(GOOD | {"BUILDER_LAUNCH_PATIENCE": "0"}).launch_patience == 0
    assert set(problems(GOOD | {"BUILDER_LAUNCH_PATIENCE": "-1"})) == {"launch_patience"}
