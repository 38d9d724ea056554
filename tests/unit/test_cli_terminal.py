"""Nothing a build prints makes a terminal do anything but show text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder_framework.cli.terminal import MAX_SEQUENCE, Neutraliser, neutralise, one_line

ESC, BEL, ST = "\x1b", "\x07", "\x1b\\"

HOSTILE = {
    f"a{ESC}]52;c;aGFja2Vk{BEL}b": "ab",  # clipboard
    f"a{ESC}]52;c;aGFja2Vk{ST}b": "ab",
    f"a{ESC}]0;title{BEL}b": "ab",
    "a\x9d0;title\x9cb": "ab",  # the same in C1
    f"a{ESC}]8;;https://evil{ST}link{ESC}]8;;{ST}b": "alinkb",
    f'a{ESC}P$q"p{ST}b': "ab",  # DCS: a request that is answered on stdin
    f"a{ESC}_Gx{ST}b": "ab",  # APC: kitty graphics
    f"a{ESC}^x{ST}b": "ab",
    f"a{ESC}Xx{ST}b": "ab",
    "a\x90x\x9cb": "ab",
    f"a{ESC}[6nb": "ab",  # cursor report
    f"a{ESC}[cb": "ab",
    f"a{ESC}[2J{ESC}[Hb": "ab",
    f"a{ESC}[1A{ESC}[2Kb": "ab",
    f"a{ESC}[?1049hb": "ab",
    f"a{ESC}[>4;2mb": "ab",  # xterm's modifyOtherKeys ends in m, too
    f"a{ESC}[21tb": "ab",
    "a\x9b2Jb": "ab",
    f"a{ESC}[200~b": "ab",
    f"a{ESC}cb": "ab",  # reset
    f"a{ESC}#8b": "ab",
    f"a{ESC}(0b": "ab",
    f"a{ESC}%Gb": "ab",
    f"a{ESC}7{ESC}8b": "ab",
    "good\rbad": "good\nbad",
    "one\r\ntwo": "one\ntwo",
    "one\r\r\ntwo": "one\n\ntwo",
    "10 %\r20 %\r": "10 %\n20 %\n",
    "pass\b\b\b\bfail": "passfail",
    "a\x00\x07\x0b\x0c\x0e\x7fb": "ab",
    "a\x80\x85\x9ab": "ab",
    "a\u202eb\u202cc": "abc",
    "a\u2066b\u2069c\u202ad": "abcd",
    "a\ud800b": "a\ufffdb",
    "tab\tand\nline": "tab\tand\nline",
    "größer 😀 العربية": "größer 😀 العربية",
    # Sequences that never end must not swallow what follows.
    f"a{ESC}]0;no end\nnext": "a\nnext",
    f"a{ESC}[31\nnext": "a\nnext",
    f"a{ESC}\nnext": "a\nnext",
    f"a{ESC}Pno end\r\nnext": "a\nnext",
    f"a{ESC}[31€": "a€",
    f"a{ESC}{ESC}[2Jb": "ab",
    f"a{ESC}[{ESC}[2Jb": "ab",
    f"a{ESC}]x{ESC}[2Jb": "ab",
    f"a{ESC}]x{ESC}{ESC}[2Jb": "ab",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_the_corpus(text: str, shown: str) -> None:
    """Each trick, as it is seen afterwards; with colours allowed just the same."""
    assert neutralise(text) == shown
    assert neutralise(text, colour=True) == shown


@pytest.mark.parametrize(
    ("sequence", "kept"),
    [
        ("31", True), ("", True), ("0", True), ("1;31;42", True), ("38;5;200", True),
        ("38;2;1;2;3;4", True), ("97", True), ("8", False), ("5", False), ("31;8", False),
        ("38;5", False), ("38;5;256", False), ("38", False), ("38;7;1", False), ("?31", False),
        ("31 ", False), ("1:31", False), ("1" * 100, False), ("999", False),
    ],
)  # fmt: skip
def test_colours_are_kept_for_terminals_only(sequence: str, kept: bool) -> None:
    """Colours and weights, but nothing that hides text; and off again at the end."""
    text = f"a{ESC}[{sequence}mb"
    assert neutralise(text) == "ab"
    shown = neutralise(text, colour=True)
    assert shown.removesuffix(f"{ESC}[0m") == (text if kept else "ab")


def test_colours_end_with_the_log() -> None:
    """The shell's prompt is not red."""
    assert neutralise(f"{ESC}[31mred", colour=True).endswith(f"{ESC}[0m")
    assert neutralise(f"{ESC}[31mred{ESC}[0m", colour=True) == f"{ESC}[31mred{ESC}[0m"


def test_an_endless_sequence_is_given_up() -> None:
    """A log without line ends still shows."""
    assert neutralise(f"{ESC}]" + "x" * (MAX_SEQUENCE * 2)).startswith("x" * MAX_SEQUENCE)


tricky = st.text(
    st.sampled_from(
        "ab;mHJ[]P\\()0139?\x1b\x07\r\n\t\b\x00\x7f\x80\x90\x9b\x9c\x9d\u202e\u2066é\ud800"
    ),
    max_size=40,
)
SAFE = re.compile(r"(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff])*")
SGR = re.compile("\x1b\\[[0-9;]*m")


@given(tricky)
@example("\r\n")
def test_what_comes_out_is_safe(text: str) -> None:
    """No control but TAB and LF; with colours, nothing beside SGR."""
    assert SAFE.fullmatch(neutralise(text))
    assert SAFE.fullmatch(SGR.sub("", neutralise(text, colour=True)))


@given(tricky, st.lists(st.integers(0, 40), max_size=5), st.booleans())
def test_pieces_give_the_same_as_the_whole(text: str, cuts: list[int], colour: bool) -> None:
    """A sequence cut by the network is the same sequence."""
    cleaner = Neutraliser(colour=colour)
    places = sorted(min(cut, len(text)) for cut in cuts)
    parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert "".join(map(cleaner.feed, parts)) + cleaner.finish() == neutralise(text, colour=colour)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf")) | st.sampled_from("\n\t")))
def test_harmless_text_is_untouched(text: str) -> None:
    """Every language."""
    assert neutralise(text) == text


def test_one_line() -> None:
    """For tables: line breaks and colours gone."""
    assert one_line(f" a\r\n{ESC}[31mb\tc\n") == "a b c"
