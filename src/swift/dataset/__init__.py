"""Data: from rows of any file to tokens, and which of them meet in which step."""
