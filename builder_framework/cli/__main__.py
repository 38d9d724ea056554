"""`python -m builder_framework.cli`."""

from builder_framework.cli import main

main()
