"""The loop: every step of a run, top to bottom. It knows neither the loss nor the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from swift.core.errors import Interrupted, Problem, SwiftError, TrainingError
from swift.method import Method
from swift.parallel import Placement, Stepped, Sums
from swift.seam.device import peak_memory
from swift.seam.types import Batch, Metrics, Outputs, Rows, View


class Feed(Protocol):
    """What to train on, step by step; a pure function of the step's number."""

    total: int
    """Steps of the whole run."""

    def step(self, number: int) -> list[Batch]:
        """Return this rank's micro-batches of a step."""

    def size(self, number: int) -> tuple[int, int]:
        """Return (samples, tokens) of a step, over all ranks."""

    def epoch(self, number: int) -> float:
        """Return the passes over the data done after a step."""

    def told(self, number: int) -> Mapping[str, float]:
        """Return what else there is to be told of a step."""

    def validation(self) -> list[list[Batch]]:
        """Return this rank's validation batches, in groups to be run at once."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything one run of the loop works with."""

    placement: Placement
    frozen: Mapping[str, Placement]
    """Placements of other models by role; a role that is missing is the policy's own matter."""

    method: Method
    feed: Feed
    rate: Callable[[int], float]
    """Step -> share of the peak learning rate."""

    peak: float
    max_grad_norm: float | None
    save_every: int
    eval_every: int
    save: Callable[[int], None]
    """Write a checkpoint after that many steps."""

    event: Callable[..., Any]
    """Write an event."""

    asked_to_stop: Callable[[], int]
    """Number of the signal that asked for the end, or 0."""

    judge: Callable[[int], Mapping[str, float]] | None = None
    """Says how good the policy is after so many steps, where the loss on held-out rows does not."""


class Lap:
    """Time between two steps, everything in between counted."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def take(self) -> dict[str, float]:
        """Return wall and CPU seconds since the last call, and CPU seconds of the whole process."""
        now = (time.perf_counter(), time.process_time())
        wall, cpu = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return {
            "seconds": round(wall, 4),
            "cpu_s": round(cpu, 4),
            "process_cpu_s": round(now[1], 3),
        }


def run(job: Job, start: int = 0) -> str:
    """Take the steps from `start` to the end; return "finished" or "interrupted".

    Raises:
        TrainingError: The loss or the gradient is not a number.
    """
    total, lap, saved = job.feed.total, Lap(), start
    for number in range(start, total):
        try:
            batches = job.feed.step(number)
        except SwiftError as error:  # what was to come did not: what is done is kept
            if number > saved:
                job.save(number)
            if isinstance(error, Interrupted):
                return "interrupted"
            raise
        rate = job.rate(number)
        sums, stepped, stop = one_step(job, batches, rate)
        _check(number, sums, stepped, batches)
        done = number + 1
        _report(job, done, sums, stepped, rate, lap)
        last = done == total
        if last or _due(done, job.eval_every) or (stop and job.judge is None):  # drawing takes long
            try:
                _evaluate(job, done)
            except SwiftError as error:  # the steps are kept
                job.save(done)
                if isinstance(error, Interrupted):
                    return "finished" if last else "interrupted"
                raise
        if last or stop or _due(done, job.save_every):
            job.save(done)
            saved = done
        if stop and not last:
            return "interrupted"
    return "finished"


def _evaluate(job: Job, done: int) -> None:
    if job.judge is not None:
        job.event("eval", step=done, **job.judge(done))
    elif job.feed.validation():
        job.event("eval", step=done, **evaluate(job))


def one_step(job: Job, batches: Sequence[Batch], rate: float) -> tuple[Sums, Stepped, bool]:
    """Accumulate one optimiser step's gradients, divide once, update.

    The divisor of each part is its weight over all ranks and micro-batches, known beforehand, so
    that however the rows are cut into micro-batches, ranks or packs, the step is the same.
    """
    method, placement = job.method, job.placement
    whole, stop = _weigh(job, batches)
    rows = [b.rows for b in batches]
    if method.scope == "step":
        rows = with_constants(method, placement, job.frozen, batches)

    def terms(number: int, out: Outputs) -> tuple[Tensor, Metrics]:
        found = method.terms(out, rows[number].beside(out.logp_N))
        parts = [found.total[part] / whole[part] for part in found.total]
        return torch.stack(parts).sum(), found.metrics

    sums = placement.forward_backward(batches, terms, method.needs)
    return sums, placement.step(job.max_grad_norm, rate), stop


def _weigh(job: Job, batches: Sequence[Batch]) -> tuple[dict[str, float], bool]:
    """Return each part's weight over the whole step, and whether any rank was asked to stop."""
    weights = [job.method.weight(b.rows) for b in batches]
    parts = list(weights[0])
    mine = [sum(w[part] for w in weights) for part in parts]
    device = batches[0].labels_BT.device
    flags = torch.tensor(
        [*mine, float(job.asked_to_stop() > 0)], dtype=torch.float64, device=device
    )
    *totals, stop = job.placement.reduce(flags).tolist()
    return {part: total or 1.0 for part, total in zip(parts, totals, strict=True)}, stop > 0


def with_constants(
    method: Method,
    placement: Placement,
    frozen: Mapping[str, Placement],
    batches: Sequence[Batch],
) -> list[Rows]:
    """Run the method's passes and merge its constants into the rows: of a step, or a rollout.

    Of a fixed pass the sums over rows may be there already: they were computed once, and kept.
    """
    rows, aside = [b.rows for b in batches], [(b.aside or b).rows for b in batches]
    outs: list[dict[str, Outputs]] = [{} for _ in batches]
    for name, wanted in method.passes.items():
        read = rows if wanted.rows == "main" else aside
        column = f"{wanted.role}_logp_B"
        if wanted.fixed and all(column in r.columns for r in read):
            continue
        asked = [b.aside or b for b in batches] if read is aside else batches
        owner = frozen.get(wanted.role, placement)
        for i, out in enumerate(owner.no_grad(asked, wanted.role, wanted.needs)):
            outs[i][name] = out
            if wanted.fixed:
                sums_B = read[i].per_row(out.logp_N)
                read[i] = replace(read[i], columns={**read[i].columns, column: sums_B})
    view = View(
        rows=rows,
        outs=outs,
        aside=aside,
        sum=placement.reduce,
        gather=placement.gather,
    )
    columns = method.constants(view)
    return [replace(r, columns={**r.columns, **c}) for r, c in zip(rows, columns, strict=True)]


def evaluate(job: Job) -> dict[str, float]:
    """Return the mean loss and metrics over the validation rows."""
    sums: dict[str, Tensor] = {}
    weight: dict[str, float] = {}
    for batches in job.feed.validation():
        rows = with_constants(job.method, job.placement, job.frozen, batches)
        outs = job.placement.no_grad(batches, "policy", job.method.needs)
        for out, row in zip(outs, rows, strict=True):
            found = job.method.terms(out, row.beside(out.logp_N))
            for part, value in job.method.weight(row).items():
                weight[part] = weight.get(part, 0.0) + value
                pair = _pair(found.total[part], value)
                sums[f"loss/{part}"] = sums.get(f"loss/{part}", 0) + pair
            for name, (total, count) in found.metrics.items():
                sums[name] = sums.get(name, 0) + _pair(total, count)
    names = sorted(sums)
    table = job.placement.reduce(torch.stack([sums[n] for n in names]))
    means = {n: s / (c or 1.0) for n, (s, c) in zip(names, table.tolist(), strict=True)}
    loss = sum(value for name, value in means.items() if name.startswith("loss/"))
    return {"loss": loss, **{n: v for n, v in means.items() if not n.startswith("loss/")}}


def _pair(total: Tensor | float, count: Tensor | float) -> Tensor:
    """Return [total, count] in float64, in the CPU's memory: not every device has float64."""
    kept = (v.detach().cpu() if isinstance(v, Tensor) else v for v in (total, count))
    return torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in kept])


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _check(number: int, sums: Sums, stepped: Stepped, batches: Sequence[Batch]) -> None:
    """Stop at the first number that is none; the last checkpoint is from before it."""
    if not stepped.skipped or stepped.scale != 1.0:
        return
    what = "the loss" if sums.loss != sums.loss else "the gradient's norm"
    origins = [o for b in batches for o in b.origins][:8]
    raise TrainingError(
        Problem(
            where=f"step {number + 1}",
            what=f"{what} is not finite (loss {sums.loss:g}, norm {stepped.norm:g}); nothing was "
            f"updated. Rows of this rank: {', '.join(origins) or 'unknown'}",
            fix="look for infinite or missing numbers in the model's weights"
            if number == 0
            else "lower train.learning_rate, raise train.warmup, or use dtype: bfloat16 or float32",
        )
    )


def _report(job: Job, done: int, sums: Sums, stepped: Stepped, rate: float, lap: Lap) -> None:
    samples, tokens = job.feed.size(done - 1)
    means = {name: total / (count or 1.0) for name, (total, count) in sums.metrics.items()}
    job.event(
        "step",
        step=done,
        loss=sums.loss,
        grad_norm=stepped.norm,
        learning_rate=rate * job.peak,
        epoch=round(job.feed.epoch(done - 1), 4),
        samples=samples,
        tokens=tokens,
        **lap.take(),
        memory_mb=round(peak_memory() / 1e6, 1),
        **means,
        **job.feed.told(done - 1),
        **({"skipped": True} if stepped.skipped else {}),
        **({"loss_scale": stepped.scale} if stepped.scale != 1.0 else {}),
    )
