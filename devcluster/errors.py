"""The one error of the dev cluster: a sentence for people that names what to do about it."""

from __future__ import annotations


class ClusterError(Exception):
    """The dev cluster cannot do what was asked; the message is one sentence with the way out."""
