"""Makes a build's log harmless for a terminal. Pure.

A log is written by whoever wrote the Dockerfile. Unfiltered it could set the clipboard (OSC 52) or
the title, make the terminal type (reports), overwrite what was printed (CR, cursor movement), or
reorder it (bidirectional controls, CVE-2021-42574).
"""

from __future__ import annotations

import re

MAX_SEQUENCE = 4096
"""Characters. An escape sequence that goes on for longer is no longer believed to be one."""

_RESET = "\x1b[0m"

# Everything the state machine has to look at: C0 but TAB and LF, DEL, C1, bidi controls
# (Unicode Technical Report 36), half surrogate pairs.
_SPECIAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_SGR = re.compile(r"[0-9;]{0,64}")

# Colours and weights only (ECMA-48, 8.3.117): no 8, which would hide text, and no blinking.
_SGR_PLAIN = frozenset(
    [0, 1, 2, 3, 4, 7, 21, 22, 23, 24, 27]
    + [code for first in (30, 40, 90, 100) for code in range(first, first + 8)]
    + [39, 49]
)
_SGR_EXTENDED = {2: 3, 5: 1}  # 38;2;r;g;b and 38;5;n (48 likewise): how many numbers follow

_STRING_STARTS = "]PX^_"  # OSC, DCS, SOS, PM, APC
_C1_STRINGS = "\x90\x98\x9d\x9e\x9f"
_C1_CSI = "\x9b"
_C1_ST = "\x9c"


def neutralise(text: str, *, colour: bool = False) -> str:
    """A whole text at once; see `Neutraliser`."""
    cleaner = Neutraliser(colour=colour)
    return cleaner.feed(text) + cleaner.finish()


def one_line(text: str) -> str:
    """For a table or a message: neutralised, white space of any kind as single blanks."""
    return " ".join(neutralise(text).split())


class Neutraliser:
    """Cleans a text that comes in pieces; sequences may be cut anywhere.

    Keeps printable characters, TAB and LF, and with `colour` the SGR sequences for colours and
    weights. CR and CR LF become LF: a progress bar turns into lines, and nothing is overwritten.
    Everything else goes: C0, C1, DEL, bidi controls, escape sequences with their content. A string
    sequence (OSC and the like) ends at a line's end at the latest, so that none can swallow a log.
    """

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour
        self._coloured = False
        # One of: text, escape (ESC seen), intermediate (ESC SP..), csi, string, string-escape.
        self._state = "text"
        self._sequence = ""
        self._length = 0
        self._after_cr = False

    def feed(self, text: str) -> str:
        """What may be printed of `text`."""
        out: list[str] = []
        position = 0
        while position < len(text):
            if self._state == "text":
                found = _SPECIAL.search(text, position)
                end = found.start() if found else len(text)
                if end > position:
                    out.append(self._plain(text[position:end]))
                    position = end
                    continue
            out.append(self._step(text[position]))
            position += 1
        return "".join(out)

    def finish(self) -> str:
        """What ends the text: colours off, if there were any. An open sequence is dropped."""
        self._state = "text"
        if self._coloured:
            self._coloured = False
            return _RESET
        return ""

    def _plain(self, run: str) -> str:
        if self._after_cr:
            self._after_cr = False
            return run[1:] if run[0] == "\n" else run
        return run

    def _step(self, char: str) -> str:
        if self._state == "text":
            return self._special(char)
        if char in "\n\r":  # ends every sequence, finished or not
            self._state = "text"
            return self._special(char) if char == "\r" else self._plain(char)
        self._length += 1
        if self._length > MAX_SEQUENCE:
            self._state = "text"
            return self._special(char) if _SPECIAL.match(char) else char
        if char == "\x1b" and self._state != "string":
            self._begin("escape")
            return ""
        if self._state in ("string", "string-escape"):
            return self._in_string(char)
        if self._state == "csi":
            return self._in_csi(char)
        return self._in_escape(char)

    def _begin(self, state: str) -> None:
        self._state, self._sequence, self._length = state, "", 0

    def _special(self, char: str) -> str:
        self._after_cr = char == "\r"
        if char == "\r":
            return "\n"
        if char == "\x1b":
            self._begin("escape")
        elif char == _C1_CSI:
            self._begin("csi")
        elif char in _C1_STRINGS:
            self._begin("string")
        elif "\ud800" <= char <= "\udfff":
            return "\ufffd"
        return ""

    def _in_escape(self, char: str) -> str:
        """After ESC, or after ESC and intermediate bytes."""
        if self._state == "escape" and char == "[":
            self._begin("csi")
        elif self._state == "escape" and char in _STRING_STARTS:
            self._begin("string")
        elif "\x20" <= char <= "\x2f":
            self._state = "intermediate"
        elif "\x30" <= char <= "\x7e":
            self._state = "text"  # a sequence of two or three characters, complete
        else:
            return self._broken(char)
        return ""

    def _in_csi(self, char: str) -> str:
        if "\x20" <= char <= "\x3f":
            self._sequence += char
            return ""
        if "\x40" <= char <= "\x7e":
            self._state = "text"
            if char == "m" and self._colour and _allowed_sgr(self._sequence):
                self._coloured = self._sequence.strip("0;") != ""
                return f"\x1b[{self._sequence}m"
            return ""
        return self._broken(char)

    def _in_string(self, char: str) -> str:
        if self._state == "string-escape":
            # ESC \ ends the string; any other ESC sequence does, too, and begins a new one.
            self._begin("escape")
            return "" if char == "\x1b" else self._in_escape(char)
        if char == "\x1b":
            self._state = "string-escape"
        elif char in ("\x07", _C1_ST):
            self._state = "text"
        return ""

    def _broken(self, char: str) -> str:
        """A character that cannot be part of the sequence: the sequence goes, not the character."""
        self._state = "text"
        return self._special(char) if _SPECIAL.match(char) else char


def _allowed_sgr(parameters: str) -> bool:
    if not _SGR.fullmatch(parameters):
        return False
    codes = [int(part) if part else 0 for part in parameters.split(";")]
    position = 0
    while position < len(codes):
        code = codes[position]
        if code in (38, 48):
            kind = codes[position + 1] if position + 1 < len(codes) else -1
            length = _SGR_EXTENDED.get(kind)
            values = codes[position + 2 : position + 2 + (length or 0)]
            if length is None or len(values) < length or max(values) > 255:
                return False
            position += 2 + length
        elif code in _SGR_PLAIN:
            position += 1
        else:
            return False
    return True
