"""Patterns mean what they mean to Docker: its reference's examples, and moby/patternmatcher's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.cli.dockerignore import DockerIgnore
from builder_framework.errors import InvalidValueError

EXCLUDED = [
    ("*/temp*", "somedir/temporary.txt", True),
    ("*/temp*", "somedir/subdir/temporary.txt", False),
    ("*/*/temp*", "somedir/subdir/temporary.txt", True),
    ("temp?", "tempa", True),
    ("temp?", "temp", False),
    ("**/*.go", "a.go", True),
    ("**/*.go", "a/b/c.go", True),
    ("**", "any/thing", True),
    ("a/**", "a/b", True),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a**/b", "ax/b", True),
    ("dir", "dir/file", True),
    ("/dir/", "dir/file", True),
    ("dir/../other", "other", True),
    ("./dir", "dir", True),
    (".", "file", False),
    ("*.md\n!README.md", "README.md", False),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("dir\n!dir/file", "dir/file", False),
    ("dir\n!dir/file", "dir/other", True),
    ("*\n!src", "src/deep/file", False),
    ("!file\nfile", "file", True),
    ("*.md", "README.MD", False),  # letter case counts
    ("[a-c].txt", "b.txt", True),
    ("[^a-c].txt", "b.txt", False),
    ("[^a-c].txt", "z.txt", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a.b", "axb", False),
    ("a+(b)", "a+(b)", True),
    ("# dir", "# dir", False),
    (" dir  ", "dir", True),
    ("! dir\n", "dir", False),
    ("dir\r\n", "dir", True),
    ("a b", "a b", True),
]


@pytest.mark.parametrize(("patterns", "path", "excluded"), EXCLUDED)
def test_patterns_mean_what_they_mean_to_docker(patterns: str, path: str, excluded: bool) -> None:
    assert DockerIgnore(patterns).excludes(path) is excluded


@pytest.mark.parametrize(("patterns", "line"), [("a\n!\n", 2), ("[", 1), ("a\\", 1), ("[b-a]", 1)])
def test_what_is_no_pattern_is_told_by_its_line(patterns: str, line: int) -> None:
    with pytest.raises(InvalidValueError, match=f"line {line} "):
        DockerIgnore(patterns)


@given(st.text(alphabet="ab*?!/.[]\\# \n", max_size=30), st.sampled_from(["a", "a/b", "b/a/b"]))
def test_any_text_is_patterns_or_told(text: str, path: str) -> None:
    try:
        ignore = DockerIgnore(text)
    except InvalidValueError:
        return
    folder = path.rpartition("/")[0]
    if folder and ignore.excludes_all_below(folder):
        assert ignore.excludes(path)
