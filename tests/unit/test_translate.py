"""What Mesos says becomes our values without loss, and a launch names what was offered."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from addict import Dict
from hypothesis import given
from hypothesis import strategies as st

from builder_framework import validate_options
from builder_framework.cluster import Launch, StatusUpdate
from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.model import BuildRequest, Placement, Resources
from builder_framework.domain.offers import Unavailability
from builder_framework.mesos import launches, translate
from builder_framework.ports import CacheSharing
from builder_framework.protocol import CacheUse, Dns, EngineMode, EngineSpec, decode_spec
from builder_framework.recipe import GitSource, RegistryAuth, Source
from builder_framework.redact import Secret
from executor.checkpoint import CHECKPOINTS
from tests.sources import git_of


def scalar(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **more}


OFFER: dict[str, Any] = {
    "id": {"value": "o1"},
    "agent_id": {"value": "agent-1"},
    "framework_id": {"value": "f1"},
    "hostname": "node1",
    "url": {"scheme": "http", "address": {"ip": "10.0.0.7", "port": 5051}, "path": "/slave(1)"},
    "resources": [
        scalar("cpus", 3.5),
        scalar("cpus", 0.5, reservations=[{"type": "STATIC", "role": "builder"}]),
        scalar("mem", 1024.0),
        scalar("disk", 500.0),
        scalar("disk", 9000.0, disk={"persistence": {"id": "someone-elses"}}),
        scalar("cpus", 16.0, revocable={}),
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}},
    ],
    "attributes": [
        {"name": "rack", "type": "TEXT", "text": {"value": "a"}},
        {"name": "level", "type": "SCALAR", "scalar": {"value": 3.0}},
        {"name": "ids", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 4}]}},
    ],
    "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "eu-1"}}},
}


def read(**changes: Any) -> Any:
    return translate.offer(Dict({**OFFER, **changes}))[0]


def test_an_offer_counts_what_a_task_can_use() -> None:
    """No persistent volumes of others, and nothing that can be taken back."""
    offer = read()
    assert offer.resources == Resources(4.0, 1024.0, 500.0)
    assert (offer.hostname, offer.agent_url) == ("node1", "http://10.0.0.7:5051")
    assert offer.attributes == {
        "rack": "a",
        "level": "3",
        "ids": "[1-4]",
        "@region": "eu",
        "@zone": "eu-1",
    }
    assert (offer.unavailability, offer.gpus) == (None, 0.0)


def test_maintenance_and_gpus_are_seen() -> None:
    window = {"start": {"nanoseconds": 2_000_000_000}, "duration": {"nanoseconds": 10**9}}
    assert read(unavailability=window).unavailability == Unavailability(2.0, 1.0)
    endless = {"start": {"nanoseconds": 2_000_000_000}}
    assert read(unavailability=endless).unavailability == Unavailability(2.0, None)
    assert read(resources=[scalar("gpus", 2.0)]).gpus == 2.0


def test_an_agent_without_attributes_or_url_is_fine() -> None:
    bare = {k: v for k, v in OFFER.items() if k not in ("attributes", "url", "domain")}
    offer, _ = translate.offer(Dict(bare))
    assert offer.attributes == {}
    assert offer.agent_url == "http://node1:5051"


def test_absent_fields_of_a_status_are_none() -> None:
    """addict would say `{}`, which compares unequal to everything without a word."""
    update = translate.status(Dict({"task_id": {"value": "t"}, "state": "TASK_RUNNING"}))
    assert update == StatusUpdate("t", None, "TASK_RUNNING")


def test_a_whole_status_is_read() -> None:
    message = {
        "task_id": {"value": "t"},
        "agent_id": {"value": "a"},
        "state": "TASK_FAILED",
        "reason": "REASON_EXECUTOR_TERMINATED",
        "source": "SOURCE_AGENT",
        "message": "gone",
        "data": base64.b64encode(b"{}").decode(),
        "uuid": "dXVpZA==",
    }
    assert translate.status(Dict(message)) == StatusUpdate(
        "t",
        "a",
        "TASK_FAILED",
        "REASON_EXECUTOR_TERMINATED",
        "SOURCE_AGENT",
        "gone",
        b"{}",
        "dXVpZA==",
    )


@given(
    st.lists(st.integers(1, 4000).map(lambda n: n / 1000), min_size=1, max_size=5),
    st.integers(0, 8000).map(lambda n: n / 1000),
)
def test_taking_leaves_exactly_the_rest(parts: list[float], wanted: float) -> None:
    pool = translate.pool_of([[scalar("cpus", part) for part in parts]])
    total = round(sum(parts), 3)
    if wanted > total:
        with pytest.raises(ValueError, match="lack"):
            translate.take(pool, Resources(cpus=wanted))
        return
    taken = translate.take(pool, Resources(cpus=wanted))
    assert round(sum(item["scalar"]["value"] for item in taken), 3) == wanted
    left = round(sum(item["scalar"]["value"] for item in pool), 3)
    assert left == round(total - wanted, 3)


def test_reserved_resources_are_used_first_and_named_as_they_came() -> None:
    _, raw = translate.offer(Dict(OFFER))
    taken = translate.take(translate.pool_of([raw]), Resources(cpus=1.0))
    assert [item["scalar"]["value"] for item in taken] == [0.5, 0.5]
    assert taken[0]["reservations"] == [{"type": "STATIC", "role": "builder"}]
    assert "reservations" not in taken[1]


def launch() -> Launch:
    request = BuildRequest(
        Source(GitSource("https://git.example.org/app.git", "main", "ann", Secret("git-canary"))),
        ("registry.example.org/app:1",),
        timeout=60.0,
        queue_ttl=60.0,
        resources=Resources(1.0, 256.0),
        registry_auth=RegistryAuth("ann", Secret("registry-canary")),
    )
    policy = machine.MachinePolicy()
    queued = machine.step(None, ev.Submitted("0" * 16, request, "me"), 1.0, policy).build
    place = Placement("agent-1", "node1", "http://10.0.0.7:5051", 2, "builder.x.1", "f1")
    build = machine.step(queued, ev.Placed(place), 1.0, policy).build
    return Launch(build, build.attempts[0])


def task(**changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "image": "registry.example.org/executor:1",
        "resources": Resources(0.1, 64.0),
        "engine": EngineSpec(),
        "git_protocols": ("https",),
    }
    template = launches.ExecutorTemplate(**(options | changes))
    _, raw = translate.offer(Dict(OFFER))
    pool = translate.pool_of([raw])
    executor = launches.executor_info(launch(), template, pool)
    info: dict[str, Any] = launches.task_info(launch(), template, pool, executor).to_dict()
    return info


def test_secrets_are_in_the_tasks_data_and_nowhere_else() -> None:
    info = task()
    spec = decode_spec(base64.b64decode(info.pop("data")))
    assert git_of(spec.source).password == Secret("git-canary")
    assert spec.logins.to_push("registry.example.org") == RegistryAuth(
        "ann", Secret("registry-canary")
    )
    assert "canary" not in json.dumps(info)
    assert "data" not in info["executor"]


def test_the_executor_is_a_privileged_container_with_the_agents_cache() -> None:
    executor = task()["executor"]
    docker = executor["container"]["docker"]
    assert (executor["type"], docker["privileged"], docker["network"]) == ("CUSTOM", True, "BRIDGE")
    (volume,) = executor["container"]["volumes"]
    assert volume["source"]["docker_volume"] == {
        "driver": "local",
        "name": "builder-cache-10.0.0.7-5051",
    }
    assert volume["container_path"] == "/var/lib/builder"
    (path,) = task(cache_path="/srv/builder")["executor"]["container"]["volumes"]
    assert (path["host_path"], path["container_path"]) == ("/srv/builder", "/var/lib/builder")


def test_builds_share_caches_with_those_they_trust() -> None:
    def domain(sharing: CacheSharing, owner: str, git: str) -> str:
        build = launch().build
        request = replace(build.request, source=Source(GitSource(f"https://git.example/{git}")))
        return launches.cache_domain(replace(build, owner=owner, request=request), sharing)

    who = [("ann", "a"), ("ann", "b"), ("bob", "a")]
    different = {sharing: len({domain(sharing, *each) for each in who}) for sharing in CacheSharing}
    assert different == {CacheSharing.OWNER: 2, CacheSharing.REPOSITORY: 3, CacheSharing.ALL: 1}
    assert len({domain(sharing, "ann", "a") for sharing in CacheSharing}) == 3
    assert validate_options.cache_domain(domain(CacheSharing.OWNER, "ann", "a"))


def test_the_agents_checkpoints_are_mounted_only_when_known() -> None:
    """The executor leaves its address there, and a restarted agent takes it over."""
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",))
    _, raw = translate.offer(Dict(OFFER))
    for checkpoints, expected in ((None, []), ("/var/lib/mesos/meta", ["/var/lib/mesos/meta"])):
        pool = translate.pool_of([raw])
        info = launches.executor_info(launch(), template, pool, checkpoints)
        volumes = info.to_dict()["container"]["volumes"]
        found = [v for v in volumes if v["container_path"] == str(CHECKPOINTS)]
        assert [v["host_path"] for v in found] == expected


def test_the_agents_engine_is_mounted_when_chosen() -> None:
    (volume,) = task(engine=EngineSpec(EngineMode.SOCKET), docker_socket="/run/d.sock")["executor"][
        "container"
    ]["volumes"]
    assert (volume["host_path"], volume["container_path"]) == (
        "/run/d.sock",
        "/var/run/docker.sock",
    )


def test_a_container_says_whose_it_is_and_leaves_nothing() -> None:
    parameters = task(pids_limit=2000)["executor"]["container"]["docker"]["parameters"]
    options = [f"--{item['key']}={item['value']}" for item in parameters]
    made = launch()
    assert options == [
        f"--label=builder.framework={made.attempt.placement.framework_id}",
        f"--label=builder.executor={made.attempt.placement.executor_id}",
        f"--label=builder.build={made.build.id}",
        f"--label=builder.attempt={made.attempt.number}",
        "--rm=true",
        "--pids-limit=2000",
    ]


def test_a_shared_container_is_no_builds_own() -> None:
    executor = task(idle=600.0)["executor"]
    options = {item["key"]: item["value"] for item in executor["container"]["docker"]["parameters"]}
    # Its memory grows with its builds; by default, that and swap together would not.
    assert options["memory-swap"] == "-1"
    assert "builder.build" not in str(executor["container"])
    (idle,) = [
        variable["value"]
        for variable in executor["command"]["environment"]["variables"]
        if variable["name"] == "BUILDER_EXECUTOR_IDLE"
    ]
    # Longer than the framework counts on it: a launch on its way must not come too late.
    assert float(idle) > 600


def test_who_may_share_an_executor() -> None:
    build = launch().build
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    others = replace(build, id="1" * 16), replace(build, owner="somebody else")
    same, different = (launches.kind(each, template) for each in others)
    assert launches.kind(build, template) == same != different
    assert launches.kind(build, replace(template, idle=0.0)) is None
    socket = replace(template, engine=EngineSpec(EngineMode.SOCKET))
    assert launches.kind(build, socket) is None


def options(**changes: Any) -> list[tuple[str, str]]:
    parameters = task(**changes)["executor"]["container"]["docker"]["parameters"]
    return [(item["key"], item["value"]) for item in parameters]


def test_name_servers_are_dockers_options() -> None:
    dns = Dns(("10.0.0.2", "10.0.0.3"), ("corp.example",), ("ndots:2",))
    told = [each for each in options(engine=EngineSpec(dns=dns)) if each[0].startswith("dns")]
    assert told == [
        ("dns", "10.0.0.2"),
        ("dns", "10.0.0.3"),
        ("dns-search", "corp.example"),
        ("dns-option", "ndots:2"),
    ]


def test_a_volume_drivers_options_are_dockers_too() -> None:
    """Mesos has a field for them, which its Docker containerizer does not read."""
    changes = {"volume_driver": "rexray", "volume_options": (("size", "50"),)}
    words = [
        "type=volume",
        "source=builder-cache-10.0.0.7-5051",
        "target=/var/lib/builder",
        "volume-driver=rexray",
        "volume-opt=size=50",
    ]
    assert options(**changes)[-1] == ("mount", ",".join(words))
    assert task(**changes)["executor"]["container"]["volumes"] == []
    assert not [key for key, _ in options(cache_path="/srv/b", **changes) if key == "mount"]


def test_a_build_gets_the_engine_it_asks_for() -> None:
    made = launch()
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    request = replace(made.build.request, engine=EngineMode.SOCKET)
    asked = replace(made, build=replace(made.build, request=request))
    assert launches.spec(asked, template).engine.mode is EngineMode.SOCKET
    assert launches.kind(asked.build, template) is None
    _, raw = translate.offer(Dict(OFFER))
    info = launches.executor_info(asked, template, translate.pool_of([raw])).to_dict()
    assert [v["container_path"] for v in info["container"]["volumes"]] == ["/var/run/docker.sock"]
    alone = replace(made.build, request=replace(made.build.request, exclusive=True))
    assert launches.kind(alone, template) is None


def test_a_build_with_a_limit_of_its_disk_is_alone_with_its_engine() -> None:
    """Or nobody could tell who wrote what."""
    made = launch()
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    assert launches.kind(made.build, template) is not None
    request = replace(made.build.request, resources=Resources(1.0, 512.0, 300.0))
    limited = replace(made, build=replace(made.build, request=request))
    assert launches.kind(limited.build, template) is None
    assert launches.spec(limited, template).disk == 300.0


def test_a_build_without_a_cache_is_alone_too() -> None:
    made = launch()
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    request = replace(made.build.request, cache=CacheUse.NONE)
    cold = replace(made, build=replace(made.build, request=request))
    assert launches.kind(cold.build, template) is None
    assert launches.spec(cold, template).cache is CacheUse.NONE


def test_an_engine_without_privilege() -> None:
    """Its container has a cache, and may make namespaces; nothing else of a privileged one."""
    container = task(engine=EngineSpec(EngineMode.ROOTLESS))["executor"]["container"]
    assert container["docker"]["privileged"] is False
    told = [(item["key"], item["value"]) for item in container["docker"]["parameters"]]
    assert [value for key, value in told if key == "security-opt"] == [
        "seccomp=unconfined",
        "apparmor=unconfined",
        "systempaths=unconfined",
    ]
    (volume,) = container["volumes"]
    assert volume["container_path"] == "/var/lib/builder"
    made = launch().build
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    asked = replace(made, request=replace(made.request, engine=EngineMode.ROOTLESS))
    assert launches.kind(asked, template) not in (None, launches.kind(made, template))


def test_a_named_network_is_a_user_network() -> None:
    container = task(network="weave")["executor"]["container"]
    assert container["docker"]["network"] == "USER"
    assert container["network_infos"] == [{"name": "weave"}]


def test_a_build_gets_the_network_it_asks_for() -> None:
    """In an executor that only builds of that network share."""
    made = launch()
    template = launches.ExecutorTemplate("e", Resources(), EngineSpec(), ("https",), idle=600.0)
    networks = {}
    for name in ("weave", "HOST", "BRIDGE"):
        request = replace(made.build.request, executor_network=name)
        asked = replace(made, build=replace(made.build, request=request))
        _, raw = translate.offer(Dict(OFFER))
        info = launches.executor_info(asked, template, translate.pool_of([raw])).to_dict()
        container = info["container"]
        networks[name] = (container["docker"]["network"], container.get("network_infos"))
        is_shared = launches.kind(asked.build, template) == launches.kind(made.build, template)
        assert is_shared == (name == template.network)
    assert networks == {
        "weave": ("USER", [{"name": "weave"}]),
        "HOST": ("HOST", None),
        "BRIDGE": ("BRIDGE", None),
    }


def test_the_framework_subscribes_as_reliability_needs_it() -> None:
    info = translate.framework_info(
        name="builder",
        user="root",
        role="builds",
        principal="p",
        failover_timeout=28 * 86400.0,
        url=None,
    )
    kinds = {capability["type"] for capability in info["capabilities"]}
    assert {"PARTITION_AWARE", "TASK_KILLING_STATE"} <= kinds
    assert "GPU_RESOURCES" not in kinds
    assert (info["checkpoint"], info["failover_timeout"]) == (True, 28 * 86400.0)
    assert (info["roles"], info["principal"]) == (["builds"], "p")
