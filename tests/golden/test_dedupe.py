"""One image for all who ask for it, and none that is older than asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.golden.conftest import Golden
from tests.integration.harness import Json, exists, pull


def test_the_same_commit_is_built_once(golden: Golden) -> None:
    """However often it is asked for, at once and later; another commit is another build."""
    framework, git = golden.framework, golden.cluster.git
    url = golden.create("COPY file /file", "RUN sleep 3", file="first")
    old = git.head(golden.name)

    def ask(commit: str, tag: str, dedupe: str = "finished") -> Json:
        body = framework.body(url, f"{golden.name}:{tag}", dedupe=dedupe)
        body["source"]["git"]["ref"] = commit
        answer = framework.call("POST", "/api/v1/builds", json=body)
        assert answer.status_code == 202, answer.text
        found: Json = answer.json()
        return found

    with ThreadPoolExecutor(3) as pool:
        asked = list(pool.map(lambda _: ask(old, "1"), range(3)))
    (build_id,) = {build["id"] for build in asked}
    build = framework.succeeded(build_id)
    assert build["joined"] == 2
    assert exists(golden.cluster, golden.name, "1")
    assert ask(old, "1")["id"] == build_id
    assert ask(old, "1")["result"]["digest"] == build["result"]["digest"]
    git.commit(golden.name, {"file": "second"})
    new = ask(git.head(golden.name), "1")
    assert new["id"] != build_id
    again = ask(old, "1", "running")
    assert again["id"] != build_id, "only what is not over was asked for"
    for each in (new, again):
        framework.succeeded(each["id"])


def test_going_back_to_an_older_commit_moves_the_tag_back(golden: Golden) -> None:
    """The older build is finished and was asked for in the same words, but has the tag no more."""
    framework, git = golden.framework, golden.cluster.git
    url = golden.create("COPY file /file", file="first")
    old = git.head(golden.name)
    git.commit(golden.name, {"file": "second"})
    digests = []
    for commit in (old, git.head(golden.name), old):
        body = framework.body(url, f"{golden.name}:1", dedupe="finished")
        body["source"]["git"]["ref"] = commit
        answer = framework.call("POST", "/api/v1/builds", json=body)
        assert answer.status_code == 202, answer.text
        build = framework.succeeded(answer.json()["id"])
        assert build["result"]["commit"] == commit
        digests.append(build["result"]["digest"])
        assert pull(golden.cluster, golden.name, "1").digest == digests[-1]
    assert digests[0] != digests[1]


def test_a_branch_may_have_moved(golden: Golden) -> None:
    """So nobody is given another build of it."""
    url = golden.create()
    body = golden.framework.body(url, f"{golden.name}:1", dedupe="running")
    body["source"]["git"]["ref"] = "main"
    answer = golden.framework.call("POST", "/api/v1/builds", json=body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["dedupe"]
