"""Hypothesis strategies for the domain's values, shared by the tests."""

from __future__ import annotations

from hypothesis import strategies as st

from builder_framework.domain.model import BuildRequest, Constraint, Placement, Resources
from builder_framework.protocol import Phase, PushedImage, Reason, Report
from builder_framework.recipe import GitLogin, GitSource, Recipe, RegistryAuth, Source
from builder_framework.redact import Secret

# As `validate.text_value` lets them in: no NUL, which PostgreSQL could not store.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
names = st.text("abcdefghijklmnop-", min_size=1, max_size=12)
# As the grammar of image names has them.
repositories = st.text("abcdefghijklmnop", min_size=1, max_size=12)
seconds = st.floats(0.1, 1e5, allow_nan=False)
secrets = st.builds(Secret, texts)

git_logins = st.builds(
    GitLogin,
    host=names,
    username=st.none() | names,
    password=st.none() | secrets,
    ssh_key=st.none() | secrets,
)
git_sources = st.builds(
    GitSource,
    url=names.map(lambda name: f"https://git.example.org/{name}.git"),
    ref=st.none() | names,
    username=st.none() | names,
    password=st.none() | secrets,
    ssh_key=st.none() | secrets,
    known_hosts=st.none() | texts,
    depth=st.integers(0, 50),
    submodules=st.booleans(),
    lfs=st.booleans(),
    keep_git_dir=st.booleans(),
    logins=st.lists(git_logins, max_size=2).map(tuple),
)
sources = st.builds(Source, git=git_sources)
recipes = st.builds(
    Recipe,
    context=names,
    dockerfile=names,
    target=st.none() | names,
    build_args=st.dictionaries(names, texts, max_size=3),
)
resources = st.builds(
    Resources,
    cpus=st.integers(1, 80).map(lambda n: n / 10),
    mem=st.integers(1, 8192).map(float),
    disk=st.integers(0, 8192).map(float),
)
constraints = st.builds(
    Constraint,
    attribute=st.sampled_from(["rack", "ssd", "hostname"]),
    operator=st.sampled_from(["EQUALS", "CLUSTER", "IS", "LIKE", "UNLIKE"]),
    value=names,
)
webhook_urls = st.builds(Secret, names.map(lambda name: f"https://hooks.example.org/{name}"))
requests = st.builds(
    BuildRequest,
    source=sources,
    images=st.lists(
        repositories.map(lambda name: f"registry.example.org/{name}:1"), min_size=1, max_size=3
    ).map(tuple),
    timeout=seconds,
    queue_ttl=seconds,
    resources=resources,
    recipe=recipes,
    registry_auth=st.none() | st.builds(RegistryAuth, username=names, password=secrets),
    constraints=st.lists(constraints, max_size=2).map(tuple),
    priority=st.integers(-5, 5),
    labels=st.dictionaries(names, texts, max_size=3),
    webhooks=st.lists(webhook_urls, max_size=2).map(tuple),
)
placements = st.builds(
    Placement,
    agent_id=names,
    hostname=names,
    agent_url=st.just("http://10.0.0.1:5051"),
    slot=st.integers(0, 7),
    executor_id=names,
    framework_id=names,
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda h: f"sha256:{h}")
reports = st.builds(
    Report,
    phase=st.none() | st.sampled_from(Phase),
    reason=st.none() | st.sampled_from(Reason),
    message=st.none() | texts,
    commit=st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
    images=st.lists(st.builds(PushedImage, name=names, digest=digests), max_size=2).map(tuple),
    digest=st.none() | digests,
    size=st.none() | st.integers(0, 2**40),
    timings=st.dictionaries(names, seconds, max_size=3),
)
