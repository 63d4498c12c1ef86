"""What a training gives back: where its work lies, and what it measured."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.checkpoint import checkpoints
from swift.core.events import read_events
from swift.run.history import headline


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that came to its end. Prints as a few lines, in a notebook as a table."""

    run: Path
    """The run folder."""

    checkpoint: Path
    """The last checkpoint: adapter or model, as PEFT and transformers open it."""

    history: Sequence[Mapping[str, Any]] = ()
    """One map a step: step, loss, learning_rate, tokens, seconds, …"""

    evaluations: Sequence[Mapping[str, Any]] = ()
    """One map a validation."""

    model: Any = field(default=None, repr=False)
    """The live model that was given, trained; None where files were trained."""

    @classmethod
    def of(cls, checkpoint: Path, model: Any = None) -> Result:
        """Read the result of the run that ended in `checkpoint`."""
        run = checkpoint.parent
        events = list(read_events(run / "events.jsonl"))
        return cls(
            run=run,
            checkpoint=checkpoint,
            history=tuple(e for e in events if e["event"] == "step"),
            evaluations=tuple(e for e in events if e["event"] == "eval"),
            model=model,
        )

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints that are kept, oldest first."""
        return checkpoints(self.run)

    @property
    def metrics(self) -> dict[str, float]:
        """Every number of the last step and of the last validation (as eval_…)."""
        found: dict[str, float] = {}
        for prefix, events in (("", self.history), ("eval_", self.evaluations)):
            for key, value in (events[-1] if events else {}).items():
                if isinstance(value, int | float) and key not in ("time",):
                    found[prefix + key] = value
        return found

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("run", str(self.run)), ("checkpoint", str(self.checkpoint))]
        if self.history:
            first, last = self.history[0], self.history[-1]
            facts.append(("steps", f"{last['step']:,}"))
            name = headline([first, last])
            ends = " -> ".join(f"{step.get(name, float('nan')):.4f}" for step in (first, last))
            facts.append((name, ends))
            facts.append(("tokens", f"{sum(e['tokens'] for e in self.history):,}"))
            facts.append(("seconds", f"{sum(e['seconds'] for e in self.history):,.1f}"))
        for key, value in (self.evaluations[-1] if self.evaluations else {}).items():
            if isinstance(value, float) and key != "time":
                facts.append((f"validation {key}", f"{value:.4f}"))
        return facts

    def __str__(self) -> str:
        return "\n".join(f"{key:>12}  {value}" for key, value in self._facts())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._facts()
        )
        return f"<table>{rows}</table>"
