"""Verbs, flags and help: the only part that prints."""
