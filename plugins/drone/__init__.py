"""A step of a Drone or Woodpecker pipeline: builds on the cluster, shows the log, ends like it.

Reads the settings of drone-docker (`PLUGIN_*`), so that a pipeline needs another image and nothing
else; docs/drone.md tells what is different.
"""
