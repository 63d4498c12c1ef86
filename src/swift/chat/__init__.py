"""Conversations as text: messages, and the model's own template with its answer spans."""
