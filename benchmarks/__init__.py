"""Benchmarks: ratios against a peer measured in one process, stored as JSON beside the environment."""
