"""A real Mesos cluster with all that a build needs, on this machine: `make up` and the tests."""

from devcluster.cluster import Cluster
from devcluster.config import ClusterConfig, Ports
from devcluster.errors import ClusterError

__all__ = ["Cluster", "ClusterConfig", "ClusterError", "Ports"]
