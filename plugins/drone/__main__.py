"""`python -m plugins.drone`, as `builder-drone`."""

from plugins.drone.step import main

main()
