"""Tests of each kind of deployment."""
