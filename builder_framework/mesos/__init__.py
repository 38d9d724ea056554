"""The way to Mesos and back; addict is seen in `translate` only, pymesos in `driver` only."""
