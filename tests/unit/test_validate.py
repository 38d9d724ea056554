"""Nothing hostile passes the grammars, and what passes is what git and Docker understand by it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder_framework import validate
from builder_framework.errors import InvalidValueError

PROTOCOLS = ("https", "ssh")
EVERY_PROTOCOL = ("https", "ssh", "http", "file")

GOOD_URLS = {
    "https://github.com/org/project.git": None,
    "HTTPS://GitHub.com/Org/Project": "https://github.com/Org/Project",
    "https://host:8443/a/b.git": None,
    "https://host/a%20b.git": None,
    "https://10.0.0.1/x": None,
    "https://host/~user/x.git": None,
    "ssh://git@host:22/org/x.git": None,
    "ssh://host/x": None,
    "git@github.com:org/project.git": None,
    "git@GitHub.com:Org/project.git": "git@github.com:Org/project.git",
    "host:project.git": None,
    "git@host:/srv/git/x.git": None,
    "git@host:~me/x": None,
    "https://dev.azure.com/o/p/_git/r": None,
}

BAD_URLS = [
    "",
    " ",
    "-",
    "--upload-pack=touch /tmp/canary",
    "--upload-pack=touch${IFS}canary",
    "-oProxyCommand=canary",
    "--config=core.sshCommand=canary",
    "-u canary",
    "ssh://-oProxyCommand=canary/x",
    "ssh://-oProxyCommand=canary@host/x",
    "ssh://git@-oProxyCommand=canary/x",
    "ssh://host/-oProxyCommand",
    "ssh://host:-22/x",
    "git@-oProxyCommand=canary:x",
    "-oProxyCommand=canary@host:x",
    "-host:x",
    "git@host:-x",
    "git@host:a/-x",
    "https://-host/x",
    "https://host-/x",
    "https://host/--upload-pack=x",
    "https://host/a/-x",
    "ext::sh -c canary",
    "ext::canary",
    "fd::17",
    "fd::17/foo",
    "https::https://host/x",
    "transport::https://host/x",
    "https://host/x::y",
    "ext://host/x",
    "file:///etc",
    "file://host/etc",
    "http://host/x",
    "git://host/x",
    "ftp://host/x",
    "ftps://host/x",
    "svn+ssh://host/x",
    "git+ssh://host/x",
    "javascript://host/x",
    "/etc/passwd",
    "./x",
    "../x",
    "x",
    "~/x",
    "x.bundle",
    "C:\\repo",
    "\\\\host\\share",
    "//host/x",
    "://host/x",
    "https:",
    "https:/host/x",
    "https:///x",
    "https://",
    "https://host",
    "https://host/",
    "https://host//",
    "https://:443/x",
    "https://host:/x",
    "https://host:0/x",
    "https://host:65536/x",
    "https://host:443x/x",
    "https://host:44:3/x",
    "https://[::1]/x",
    "https://host_/x",
    "https://ho st/x",
    "https://ho%20st/x",
    "https://ho\tst/x",
    "https://host./x",
    "https://.host/x",
    "https://ho..st/x",
    "https://höst/x",
    "https://host/ü",
    "https://host/a b",
    "https://host/x\n",
    "https://host/x\r\nHeader: 1",
    "https://host/\x00",
    "https://host/\x1b[31m",
    "https://host/\u2028",
    "https://host/\u202e",
    "https://host/\ud800",
    "https://host/%0ahost=evil",
    "https://host/%0d%0a",
    "https://host/%00",
    "https://host/%7f",
    "https://host/%5c..%5cx",
    "https://host/%zz",
    "https://host/%",
    "https://host/..",
    "https://host/a/../../b",
    "https://host/a/%2e%2e/b",
    "https://host/./x",
    "https://host/%2dx",
    "https://host/x?ref=y",
    "https://host/x#main",
    "https://host?x/y",
    "https://host#x/y",
    "https://host\\@evil/x",
    "https://host/a\\b",
    "https://host/a|b",
    'https://host/"x"',
    "https://host/<x>",
    "https://host/`x`",
    "https://host/{x}",
    "https://host/x^",
    "https://user:secret@host/x",
    "https://user:@host/x",
    "https://:secret@host/x",
    "https://ghp_token@host/x",
    "https://@host/x",
    "https://a@b@host/x",
    "ssh://git:secret@host/x",
    "ssh://git:@host/x",
    "ssh://@host/x",
    "ssh://a b@host/x",
    "ssh://a%20b@host/x",
    "ssh://$(canary)@host/x",
    "git:secret@host:x",
    "a@b@host:x",
    "@host:x",
    "git@:x",
    "git@host:",
    "git@host:/",
    "git@host::x",
    "git@ho/st:x",
    "git@host:x y",
    "git@host:x?y",
    "git@host:../x",
    "https://host/" + "a" * 2048,
    "https://" + "a" * 300 + "/x",
    "https://" + "a." * 130 + "a/x",
]

GOOD_REFS = [
    "main",
    "HEAD",
    "feature/x-y_z",
    "v1.0.0",
    "refs/heads/main",
    "refs/tags/v1",
    "refs/pull/1/head",
    "a@b",
    "+x",
    "x-",
    "日本",
    "0123456",
    "0" * 40,
    "f" * 64,
    "a" * 255,
    "a'b",
    "$(x)",
    "x;y",
]

BAD_REFS = [
    "",
    "-",
    "-x",
    "--upload-pack=canary",
    "--orphan=evil",
    "-b",
    "@",
    "@{-1}",
    "@{u}",
    "main@{1}",
    "a..b",
    "..",
    "...",
    "HEAD^",
    "HEAD~1",
    "HEAD^{/x}",
    "v1^{}",
    ":/message",
    "main:file",
    "+a:b",
    "a b",
    " a",
    "a ",
    "a\tb",
    "a\n",
    "\n",
    "a\r",
    "a\x00b",
    "a\x7f",
    "a\x1b[2J",
    "a\x85",
    "a\u2028",
    "a\u202eb",
    "a\u200b",
    "a\u00a0",
    "\ud800",
    "a?b",
    "a*",
    "[a]",
    "a\\b",
    "a.",
    "a/b.",
    ".a",
    "a/.b",
    "a.lock",
    "a.lock/b",
    "/a",
    "a/",
    "a//b",
    "/",
    "//",
    "a" * 256,
    "é" * 128,
    "refs/heads/",
    "refs/heads/../x",
]

GOOD_IMAGES = {
    "app": "docker.io/library/app:latest",
    "app:1": "docker.io/library/app:1",
    "org/app:1": "docker.io/org/app:1",
    "index.docker.io/app": "docker.io/library/app:latest",
    "docker.io/library/app:1": "docker.io/library/app:1",
    "localhost/app": "localhost/app:latest",
    "localhost:5000/app:1": "localhost:5000/app:1",
    "registry.example:5000/a/b/c:v1.0_x-y": "registry.example:5000/a/b/c:v1.0_x-y",
    "Registry.Example/app": "registry.example/app:latest",
    "10.0.0.1:5000/app": "10.0.0.1:5000/app:latest",
    "[fd00::1]:5000/app:1": "[fd00::1]:5000/app:1",
    "a.b/c__d/e--f/g.h_i:1": "a.b/c__d/e--f/g.h_i:1",
    "host.example/" + "a" * 64: "host.example/" + "a" * 64 + ":latest",
}

BAD_IMAGES = [
    "",
    " ",
    ":",
    ":1",
    "/",
    "/app",
    "app/",
    "a//b",
    "app:",
    "app: ",
    "app:1\n",
    "app\n",
    "app:1:2",
    "app:-1",
    "app:.1",
    "app:" + "a" * 129,
    "app:ü",
    "app:a b",
    "app:a/b",
    "App",
    "org/App",
    "Org/app",
    "-app",
    "--tag",
    "app-",
    "_app",
    "app_",
    ".app",
    "app.",
    "a..b",
    "a___b",
    "a._b",
    "a/-b",
    "../app",
    "a/../b",
    "./app",
    "https://host.example/app",
    "host.example:port/app",
    "host.example:0/app",
    "host.example:65536/app",
    "host.example:99999999999999999999/app",
    "host.example:/app",
    "-host.example/app",
    "host-.example/app",
    "user@host.example/app",
    "user:secret@host.example/app",
    "host.example/app@sha256:" + "0" * 64,
    "app@sha256:" + "0" * 64,
    "app:1@sha256:" + "0" * 64,
    "app@latest",
    "app@",
    "a" * 64,
    "a" * 256,
    "host.example/" + "a" * 250,
    "app\x00",
    "\u0430pp",
    "app:1٢",
    "[::1/app",
    "[host]:5000/app",
    "app;canary",
    "$(canary)",
    "app&x=y",
    "app?x",
    "app#x",
    "app%2e",
]

GOOD_PATHS = {
    "Dockerfile": "Dockerfile",
    "./Dockerfile": "Dockerfile",
    "a/b/../c": "a/c",
    "a//b/": "a/b",
    "docker files/Dockerfile": "docker files/Dockerfile",
    "ü/Dockerfile": "ü/Dockerfile",
    "..a/b": "..a/b",
    "a/-b": "a/-b",
}

BAD_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "..",
    "../",
    "../x",
    "a/../..",
    "a/../../x",
    "./../x",
    "a/b/../../../x",
    "-",
    "-f",
    "--file=/etc/passwd",
    "./-f",
    "a/../-f",
    "a\\b",
    "..\\x",
    "a\x00",
    "a\n",
    "a\r",
    "a\tb",
    "a\x1b",
    "a\x7f",
    "a\x85",
    "a\u2028",
    "a\u202e",
    "a\ud800",
    "a" * 256,
    "a/" * 600,
    "é" * 128,
]

BAD_ARGS = [
    "",
    "1A",
    "-A",
    "A-B",
    "A=B",
    "A B",
    "A\n",
    "Ä",
    "A.B",
    "A" * 129,
    "\x00",
    "--build-arg",
]
BAD_STAGES = ["", "-x", ".x", "_x", "a b", "a\n", "a/b", "a:b", "a=b", "ü", "a" * 129, "--target"]
BAD_LABELS = ["", "=", "a=b", "-a", ".a", "a.", "a b", "a\n", "ü", "a" * 256, '"a"', "a\x00", "/a"]


def refused(check: Callable[..., object], value: str, *more: object, **options: object) -> None:
    with pytest.raises(InvalidValueError) as caught:
        check(value, *more, **options)
    assert caught.value.message
    # A wrong value may be a credential put into the wrong field.
    assert len(value) < 12 or value not in caught.value.message


def test_the_corpora_are_large_enough() -> None:
    """At least 150 hostile values are tried."""
    assert len(BAD_URLS) + len(BAD_REFS) + len(BAD_IMAGES) + len(BAD_PATHS) >= 150


@pytest.mark.parametrize(("url", "normal"), GOOD_URLS.items())
def test_good_urls_pass(url: str, normal: str | None) -> None:
    assert validate.git_url(url, PROTOCOLS) == (normal or url)


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_urls_are_refused(url: str) -> None:
    refused(validate.git_url, url, PROTOCOLS)


@pytest.mark.parametrize("protocol", EVERY_PROTOCOL)
def test_a_url_needs_its_protocol_allowed(protocol: str) -> None:
    urls = {
        "https": "https://host/x",
        "http": "http://host/x",
        "ssh": "git@host:x",
        "file": "file:///srv/x.git",
    }
    for name, url in urls.items():
        if name == protocol:
            assert validate.git_url(url, (protocol,)) == url
        else:
            refused(validate.git_url, url, (protocol,))


def test_an_unknown_protocol_cannot_be_allowed() -> None:
    """Allowing `ext` by mistake in the configuration opens nothing."""
    for url in ("ext::canary", "ext://host/x", "git://host/x"):
        refused(validate.git_url, url, ("ext", "git", "https"))


@pytest.mark.parametrize("ref", GOOD_REFS)
def test_good_refs_pass(ref: str) -> None:
    assert validate.git_ref(ref) == ref


@pytest.mark.parametrize("ref", BAD_REFS)
def test_bad_refs_are_refused(ref: str) -> None:
    refused(validate.git_ref, ref)


@pytest.mark.parametrize(("ref", "full"), GOOD_IMAGES.items())
def test_good_images_are_written_out(ref: str, full: str) -> None:
    parsed = validate.image_reference(ref)
    assert str(parsed) == full
    assert validate.image_reference(str(parsed)) == parsed


@pytest.mark.parametrize("ref", BAD_IMAGES)
def test_bad_images_are_refused(ref: str) -> None:
    refused(validate.image_reference, ref)


def test_a_digest_is_kept_where_it_is_allowed() -> None:
    digest = "sha256:" + "a" * 64
    parsed = validate.image_reference(f"host.example/app@{digest}", allow_digest=True)
    assert (parsed.tag, parsed.digest) == (None, digest)
    assert str(parsed) == f"host.example/app@{digest}"
    refused(validate.image_reference, "app@sha256:0", allow_digest=True)


@pytest.mark.parametrize(("path", "normal"), GOOD_PATHS.items())
def test_good_paths_are_normalised(path: str, normal: str) -> None:
    assert validate.relative_path(path) == normal


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths_are_refused(path: str) -> None:
    refused(validate.relative_path, path)
    refused(validate.relative_path, path, allow_root=True)


@pytest.mark.parametrize("path", [".", "./", "a/..", "./."])
def test_the_root_is_a_context_but_no_dockerfile(path: str) -> None:
    assert validate.relative_path(path, allow_root=True) == "."
    refused(validate.relative_path, path)


@pytest.mark.parametrize("name", ["A", "_a", "HTTP_PROXY", "a1", "A" * 128])
def test_good_build_args_pass(name: str) -> None:
    assert validate.build_arg_name(name) == name


@pytest.mark.parametrize("name", BAD_ARGS)
def test_bad_build_args_are_refused(name: str) -> None:
    refused(validate.build_arg_name, name)


@pytest.mark.parametrize("name", ["build", "Stage-1", "0", "a.b_c"])
def test_good_stages_pass(name: str) -> None:
    assert validate.target_stage(name) == name


@pytest.mark.parametrize("name", BAD_STAGES)
def test_bad_stages_are_refused(name: str) -> None:
    refused(validate.target_stage, name)


@pytest.mark.parametrize("key", ["a", "org.opencontainers.image.source", "a/b-c_d", "A1"])
def test_good_label_keys_pass(key: str) -> None:
    assert validate.label_key(key) == key


@pytest.mark.parametrize("key", BAD_LABELS)
def test_bad_label_keys_are_refused(key: str) -> None:
    refused(validate.label_key, key)


def test_values_are_bounded_text() -> None:
    assert validate.text_value("a\nü") == "a\nü"
    for value in ("a\0", "\ud800", "a" * (validate.MAX_VALUE_BYTES + 1)):
        refused(validate.text_value, value)


def git_accepts(ref: str) -> bool:
    return (
        subprocess.run(["git", "check-ref-format", "--allow-onelevel", ref], check=False).returncode
        == 0
    )


@pytest.mark.parametrize("ref", GOOD_REFS)
def test_git_agrees_on_good_refs(ref: str) -> None:
    assert git_accepts(ref)


REF_ALPHABET = st.sampled_from("ab/.@{}~^:?*[]\\-_ \t\x7fé+lock")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(REF_ALPHABET, st.sampled_from([".lock", "..", "//", "@{", "/."]))).map(
        "".join
    )
)
@example("a.lock/b")
@example("@")
def test_accepted_refs_are_accepted_by_git(ref: str) -> None:
    """git_ref is never more generous than git check-ref-format."""
    try:
        accepted = validate.git_ref(ref)
    except InvalidValueError:
        return
    assert git_accepts(accepted)


URL_TEXT = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "https://",
                "ssh://",
                "git@",
                "host",
                ":",
                "/",
                "-",
                "@",
                "..",
                "%0a",
                "%2e",
                "\\",
                "::",
            ]
        ),
        st.characters(),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=1000)
@given(URL_TEXT)
def test_accepted_urls_are_harmless(url: str) -> None:
    """No option, no helper, no white space, no password; and a second pass changes nothing."""
    try:
        accepted = validate.git_url(url, EVERY_PROTOCOL)
    except InvalidValueError:
        return
    assert accepted.isascii()
    assert accepted.isprintable()
    assert not accepted.startswith("-")
    assert not any(part.startswith("-") for part in accepted.replace("@", "/").split("/"))
    assert "::" not in accepted
    assert " " not in accepted
    assert validate.git_url(accepted, EVERY_PROTOCOL) == accepted


@settings(max_examples=1000)
@given(st.text(st.one_of(st.sampled_from("ab/.-_:@[]1"), st.characters()), max_size=40))
def test_accepted_images_are_stable(ref: str) -> None:
    try:
        parsed = validate.image_reference(ref, allow_digest=True)
    except InvalidValueError:
        return
    assert str(parsed).isascii()
    assert not str(parsed).startswith("-")
    assert validate.image_reference(str(parsed), allow_digest=True) == parsed


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(["a", "..", ".", "", "-b", "c d"]), max_size=8).map("/".join))
def test_accepted_paths_stay_beneath(path: str) -> None:
    try:
        normal = validate.relative_path(path, allow_root=True)
    except InvalidValueError:
        return
    assert not normal.startswith(("/", "-", "../"))
    assert ".." not in normal.split("/")
    assert validate.relative_path(normal, allow_root=True) == normal
