"""Long runs with figures: each module is a command, and a make target calls it."""
