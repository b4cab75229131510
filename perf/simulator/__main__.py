"""`python -m perf.simulator`."""

from perf.simulator.cli import main

if __name__ == "__main__":
    main()
