"""Texts that want to be more than text."""

from __future__ import annotations

MARKUP = (
    "<script>alert(1)</script>",
    "</span></div><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<style>*{display:none!important}</style>",
    "<base href=//evil.example.org/>",
    "<meta http-equiv=refresh content='0;url=//evil.example.org/'>",
    "<form action=//evil.example.org><button id=log>x</button></form>",
    "<!--<script>",
    "]]><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</pre><b>",
    "</template>",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "&amp;amp;",
)
ATTRIBUTES = (
    '" onmouseover="alert(1)" x="',
    "' onfocus='alert(1)' autofocus='",
    '"><script>alert(1)</script>',
    "` onclick=alert(1) `",
    '" style="position:fixed;inset:0" x="',
    'x" data-live="" id="head',
)
TEMPLATES = ("{{ 7 * 7 }}", "{% raw %}", "${alert(1)}", "#{7*7}", "<%= 7 %>", "%7B%7B7*7%7D%7D")
URLS = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "//evil.example.org/",
    "\\\\evil.example.org\\x",
    "view-source:x",
)
TERMINAL = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;without an end",
    "\x1bP+q544e\x1b\\",
    "\x1b_apc\x1b\\",
    "\x1b^pm\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[?1049h",
    "\x1b[" + "1;" * 5000 + "m",
    "\x1b[38;5;999m\x1b[38;2m\x1b[38;2;9;9m",
    "\x1b[99999999999999999999m",
    "\x9b31m",
    "\x9d0;c1\x9c",
    "\x1b",
    "\x1b[",
    "\x1b[31",
    "\x1b" * 3000,
    "\x1b]" * 3000,
    "\b\b\b\b",
    "\x07\x07",
    "\x00nul\x00",
    "\x7f",
    "a\rb",
    "\r\r\r",
    "\x0b\x0c",
)
UNICODE = (
    "\u202egnp.exe\u202c",
    "\u2066isolate\u2069",
    "\u200frtl",
    "\u061c",
    "\u2028line\u2029paragraph",
    "\ufeffbom",
    "Z" + "\u0300" * 300,
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufffe\uffff",
    "\u200b\u2060",
    "\U000e0041",
    "\U0001d573",
)
HUGE = ("A" * 20_000, "<b>" * 5_000, "\u202e" * 1_000, "a " * 10_000)

TEXTS = (*MARKUP, *ATTRIBUTES, *TEMPLATES, *URLS, *TERMINAL, *UNICODE)

BYTES = (
    b"\xff\xfe\xfa",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x92",
    b"\xc0\xaf<script>alert(1)</script>",
    b"\x80" * 500,
    b"\xf4\x90\x80\x80",
    bytes(range(256)),
)
"""In logs only: all other text is Unicode before it gets to us."""
