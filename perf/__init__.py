"""Measuring and exercising the gateway: simulator, load, replay, monitor, report."""
