"""A Mesos framework for one-shot image builds: a git URL goes in, an image digest comes out."""

__version__ = "0.1.0"
