"""What a person sees of a run: a reader of its events, as a bar or as plain lines."""

from __future__ import annotations

import time
from shutil import get_terminal_size
from typing import Any, TextIO

from tqdm import tqdm

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


class Display:
    """Shows events on `out`: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar: tqdm[Any] | None = None
        self._total = 0
        self._begin = self._last = 0.0
        self._first = 0

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        kind = event["event"]
        if kind in ("start", "resume"):
            self._start(event)
        elif kind == "step":
            self._step(event)
        elif kind == "end":
            self.close()
        elif kind == "eval":
            values = "  ".join(
                f"{k} {v:.4g}" for k, v in event.items() if k not in ("event", "time", "step")
            )
            self.line(f"validation after step {event['step']}: {values}")
        elif kind == "save":
            self.line(f"saved {event['folder']}")
        elif kind == "data" and event["split"] != "train":
            self.line(f"{event['split']}: {event['text']}")
        elif kind in ("note", "warning", "data", "template", "reference"):
            self.line(f"{kind}: {event['text']}")

    def line(self, text: str) -> None:
        """Write one line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            self._out.write(text + "\n")
            self._out.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _start(self, event: dict[str, Any]) -> None:
        share = event["trainable"] / event["numel"]
        trained = f"{event['trainable']:,} of {event['numel']:,} weights are trained"
        self.line(f"{trained} ({share:.4%})")
        if event["event"] == "resume":
            self.line(f"goes on after step {event['step']}")
        self._total, self._first = event["total_steps"], event["step"]
        self._begin = self._last = time.monotonic()
        if self._out.isatty():
            self._bar = tqdm(
                total=self._total,
                initial=self._first,
                file=self._out,
                unit="step",
                ncols=get_terminal_size().columns,  # a terminal that knows no size has 80
            )

    def _step(self, event: dict[str, Any]) -> None:
        speed = event["tokens"] / max(event["seconds"], 1e-9)
        words = {
            "loss": f"{event['loss']:.4f}",
            **({"reward": f"{event['reward']:.3f}"} if "reward" in event else {}),
            "lr": f"{event['learning_rate']:.2e}",
            "tok/s": f"{speed:,.0f}",
            "mem": f"{event['memory_mb']:,.0f}MB",
        }
        if self._bar is not None:
            self._bar.set_postfix(words, refresh=False)
            self._bar.update(1)
            return
        now, done = time.monotonic(), event["step"]
        if done > self._first + 1 and done < self._total and now - self._last < _PLAIN_EVERY:
            return
        self._last = now
        left = (now - self._begin) / (done - self._first) * (self._total - done)
        text = "  ".join(f"{k} {v}" for k, v in words.items())
        self.line(f"step {done}/{self._total}  {text}  left {_clock(left)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
