"""make compose-test: run.sh, not collected by pytest."""
