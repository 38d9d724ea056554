"""Where accepted builds live. Nothing is acted on, answered or acknowledged before it is here."""
