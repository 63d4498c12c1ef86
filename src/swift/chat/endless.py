"""The error of a template that would not end."""

from __future__ import annotations

from swift.core.errors import DataError


class Endless(DataError):  # noqa: N818 - it says what the template is
    """A template that would not end, or not fit: no conversation is to be tried with it."""
