"""What a run's folder tells of its training: losses, scores, the task of its model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from swift.core.events import read_events
from swift.model.score import adds_score
from swift.run.card import Score
from swift.run.public import read_json

_TASKS = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForSequenceClassification": "text-classification",
    "ForImageTextToText": "image-text-to-text",
}
"""How the name of an architecture ends -> what hubs call its task."""


def losses_of(events: Path, step: int) -> Mapping[str, float]:
    """Return the first, the last and the last evaluated loss up to a step."""
    found: dict[str, float] = {}
    for event in read_events(events):
        at, loss = event.get("step"), event.get("loss")
        if not isinstance(at, int) or at > step or not isinstance(loss, int | float):
            continue
        if not math.isfinite(loss):
            continue
        if event["event"] == "step":
            found.setdefault("first step", float(loss))
            found["last step"] = float(loss)
        elif event["event"] == "eval":
            found["evaluated"] = float(loss)
    return found


def scores_of(run: Path, step: int, *, alone: bool) -> list[Score]:
    """Return what `swift eval` found of a run's checkpoint.

    Args:
        run: The run folder.
        step: The checkpoint's.
        alone: Whether it is the run's only one, so that its merged model is it too.
    """
    found = []
    for path in sorted(run.glob("eval-*/eval.json")):
        said = read_json(path)
        of = Path(str(said.get("adapter") or said.get("model") or "")).name
        try:
            if of == f"checkpoint-{step}" or (alone and of in ("merged", run.resolve().name)):
                low, high = said["interval_95"]
                found.append(
                    Score(
                        data=Path(str(said["dataset"])).name,
                        name=str(said["score"]["name"]),
                        rows=int(said["rows"]),
                        share=float(said["share"]),
                        interval=(float(low), float(high)),
                    )
                )
        except (LookupError, TypeError, ValueError):
            continue  # of another version
    return found


def pipeline_of(folder: Path | None, adapter: Path | None = None) -> str:
    """Return what hubs call the task of the model in `folder`; "" where its config does not say.

    With a head of one number beside its weights, an `adapter` makes it a classifier.
    """
    if adapter is not None and adds_score(adapter):
        return _TASKS["ForSequenceClassification"]
    said = read_json(folder / "config.json").get("architectures") if folder else None
    names = [str(name) for name in said] if isinstance(said, list) else []
    return next((_TASKS[e] for n in names for e in _TASKS if n.endswith(e)), "")
