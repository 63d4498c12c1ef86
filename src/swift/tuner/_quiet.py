"""Warnings of libraries about each other, which no user of ours can mend."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Hide that PEFT 0.21 asks transformers 5 for `is_gradient_checkpointing`, its old name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
