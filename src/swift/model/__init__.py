"""Models: where they are, what is true of them, and their weights on any device."""
