"""`python -m perf.chaos`."""

from perf.chaos.cli import main

main()
