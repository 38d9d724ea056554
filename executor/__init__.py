"""What runs in the privileged container: one Mesos executor that builds and pushes images."""

TOKEN_VARIABLE = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"  # noqa: S105  (a name)
"""Taken out of the environment first thing, or every child would inherit it."""
