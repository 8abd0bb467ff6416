"""Learned policies from traces: training prompts, features, targets, networks, files."""
