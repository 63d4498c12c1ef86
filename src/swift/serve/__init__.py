"""The served API: OpenAI's shapes, errors and status codes in front of an engine."""
