"""Runs: from a plan to a folder of checkpoints."""
