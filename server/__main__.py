"""`python -m server` is the same as `aicore-gateway`."""

from server.cli import main

main()
