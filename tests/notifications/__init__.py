"""Many messages to a receiver that fails often: none is lost, and twice is once."""
