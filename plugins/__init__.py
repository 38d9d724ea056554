"""What other systems run to have images built by us."""
