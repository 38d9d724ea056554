"""The part of http-parser that pymesos uses, on httptools."""

version_info = (0, 9, 0)
__version__ = "0.9.0.post1"
