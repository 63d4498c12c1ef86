"""Plan: a Recipe and what is true here. The one value that a worker gets."""

from __future__ import annotations

from swift.plan.resolve import moved, resolve
from swift.plan.rules import rule
from swift.plan.value import Plan, Sizes, read_plan, write_plan

__all__ = ["Plan", "Sizes", "moved", "read_plan", "resolve", "rule", "write_plan"]
