"""Tests of the simulator, most of them against the real process."""
