"""Runs: configuration, run directories, the main jobs. Import what you need from its modules."""
