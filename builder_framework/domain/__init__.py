"""The pure heart: values and decisions, without clock, I/O, addict or pymesos."""
