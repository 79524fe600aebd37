"""Runs: configuration, run directories, the main jobs."""
