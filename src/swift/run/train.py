"""A training run, from a plan to a folder of checkpoints: one page."""

from __future__ import annotations

import random
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swift.core.env import Ranks, without_advice_of_bitsandbytes
from swift.core.errors import Interrupted, Problem
from swift.core.events import Events
from swift.core.files import locked
from swift.model.skeleton import attention_of
from swift.parallel import Placement, Site, strategies
from swift.run.curves import draw_at_end
from swift.run.data import Prepared, prepare, write_reports
from swift.run.feed import begin_at
from swift.run.folder import check_space, ending
from swift.run.given import NOTHING, Given
from swift.run.loop import Job, run
from swift.run.packing import end_to_end
from swift.run.reference import referred
from swift.run.reporting import Reporting
from swift.run.rollout.feed import RolloutFeed
from swift.run.rollout.opened import online
from swift.run.save import restore, save, size_of
from swift.run.schedule import rate
from swift.run.signals import Signals
from swift.run.source import ModelSource
from swift.run.streamed import feed_of
from swift.seam.device import address, ready
from swift.seam.segments import SEGMENTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from swift.model.facts import ModelFacts
    from swift.plan import Plan
    from swift.run.feed import AnyFeed


def train(
    plan: Plan,
    folder: Path,
    ranks: Ranks,
    resume: Path | None,
    show: Callable[[dict[str, Any]], None],
    given: Given = NOTHING,
) -> Path:
    """Carry out `plan` in `folder`; return the last checkpoint.

    Args:
        plan: What to do.
        folder: The run folder; it holds the plan already.
        ranks: This process among those of the run.
        resume: A checkpoint of this run to go on from.
        show: Is given each event as it is written (rank 0).
        given: Live objects instead of the plan's files.

    Raises:
        MachineError: Another process is at work in the folder.
        Interrupted: A signal asked for the end; a checkpoint holds what was done.
        TrainingError: The numbers went wrong.
    """
    without_advice_of_bitsandbytes()
    with ExitStack() as stack:
        events: Events | None = None
        if ranks.rank == 0:
            stack.enter_context(locked(folder / ".lock"))
            events = stack.enter_context(closing(Events(folder / "events.jsonl")))

        def event(kind: str, **fields: Any) -> None:
            if events is not None:
                line = events.write(kind, **fields)
                show(line)
                reporting.take(line)

        reporting = Reporting(plan.recipe.report, folder, lambda text: event("warning", text=text))
        try:
            last = _train(plan, folder, ranks, resume, event, given)
        except BaseException as error:
            reporting.close()
            if events is not None and not isinstance(error, KeyboardInterrupt):
                draw_at_end(folder, event)
            event("end", **ending(error))
            raise
        reporting.close()
        if events is not None:
            draw_at_end(folder, event)
        event("end", reason="finished")
        return last


def _train(
    plan: Plan,
    folder: Path,
    ranks: Ranks,
    resume: Path | None,
    event: Callable[..., None],
    given: Given,
) -> Path:
    with Signals() as signals, ExitStack() as stack:
        _seed(plan.recipe.train.seed, ranks.rank, plan)
        prepared = prepare(plan, event, given)
        if ranks.rank == 0:
            write_reports(prepared.reports, folder)
        policy, frozen = place(plan, ranks, given)
        flat = plan.end_to_end and stack.enter_context(
            end_to_end([policy, *frozen.values()], prepared.train, prepared.pad_id, event)
        )
        prepared, frozen = referred(
            plan,
            prepared,
            policy,
            frozen,
            ranks,
            event,
            end_to_end=bool(flat),
            live=bool(given.models),
        )
        feed: AnyFeed
        if plan.recipe.method.scope == "rollout":
            feed = online(
                plan,
                prepared,
                policy,
                frozen,
                ranks,
                given,
                folder,
                event,
                asked_to_stop=lambda: signals.asked,
                end_to_end=bool(flat),
            )
            stack.callback(feed.close)
        else:
            feed = feed_of(plan, prepared, policy, end_to_end=flat)
        check_space(folder, size_of(policy, plan.recipe.tuner.adapters), plan.recipe.train.keep)
        start = _begin(plan, prepared, policy, feed, resume, ranks, event)

        def write(step: int) -> None:
            facts = {
                "total_steps": feed.total,
                "template": prepared.template,
                "ends": prepared.ends,
                "data": prepared.fingerprint,
                "stream": feed.position(step),
            }
            path = save(plan, policy, folder, ranks, step, facts, feed.pieces(step))
            event("save", step=step, folder=path.name)

        job = _job(plan, policy, frozen, feed, write, event, signals)
        reason = run(job, start)
        if ranks.rank == 0 and prepared.stream is not None:
            event("data", split="train", text=prepared.reports["train"].describe())
            write_reports(prepared.reports, folder)
    if reason == "interrupted":
        raise _interrupted(folder, signals.asked)
    return folder / f"checkpoint-{feed.total}"


def place(
    plan: Plan, ranks: Ranks, given: Given = NOTHING
) -> tuple[Placement, dict[str, Placement]]:
    """Return the trained model in its place, and the frozen ones that the method asks for."""
    recipe = plan.recipe
    ready(plan.device)
    device = address(plan.device, ranks.local_rank)
    site = Site(
        device=device,
        dtype=plan.dtype,
        rank=ranks.rank,
        world=ranks.world,
        neftune=recipe.train.neftune,
    )
    strategy = strategies.get(plan.strategy)()
    source = _source(plan, plan.model, given)
    rate = plan.learning_rate
    policy = strategy.place(source, "policy", recipe.optimizer, rate, site)
    other = plan.reference is not None or "reference" in given.models
    apart = other or getattr(recipe.method, "reference", "auto") == "model"
    roles = {p.role for p in recipe.method.passes.values() if p.role != "policy"}
    if not (apart or not recipe.tuner.adapters):
        return policy, {}
    if plan.reference is not None:
        source = _source(plan, plan.reference, NOTHING)
    return policy, {role: strategy.place(source, role, None, rate, site) for role in roles}


def _source(plan: Plan, facts: ModelFacts, given: Given) -> ModelSource:
    recipe = plan.recipe
    return ModelSource(
        facts,
        recipe.tuner,
        dtype=plan.dtype,
        attention=plan.attention,
        seed=recipe.train.seed,
        gradient_checkpointing=plan.gradient_checkpointing,
        live=given.models,
        quant=recipe.quant,
        scored="score" in recipe.method.needs,
        heat=recipe.method.heat,
    )


def _seed(seed: int, rank: int, plan: Plan) -> None:
    """Each rank that reads its own rows draws its own dropout; ranks of the same rows alike."""
    torch.manual_seed(seed + (0 if plan.data_world == 1 else rank))
    random.seed(seed + rank)


def _begin(
    plan: Plan,
    prepared: Prepared,
    policy: Placement,
    feed: AnyFeed,
    resume: Path | None,
    ranks: Ranks,
    event: Callable[..., None],
) -> int:
    """Say what starts (or goes on), and return the number of the first step."""
    proof = policy.proof()
    start = begin_at(feed, resume, prepared) if resume else 0
    real = attention_of(policy.model())
    if real not in ("", plan.attention, SEGMENTED) and not plan.model.given:
        event(
            "note", text=f"{plan.model.architecture} has no {plan.attention}: attention is {real}"
        )
    event(
        "resume" if resume else "start",
        step=start,
        total_steps=feed.total,
        plan=plan.digest,
        data=prepared.fingerprint,
        trainable=proof.trainable,
        numel=proof.numel,
        proof=vars(proof),
        attention=real,
    )
    if resume:
        restore(policy, resume, ranks, plan.device)
    return start


def _job(
    plan: Plan,
    policy: Placement,
    frozen: dict[str, Placement],
    feed: AnyFeed,
    write: Callable[[int], None],
    event: Callable[..., None],
    signals: Signals,
) -> Job:
    options = plan.recipe.train
    return Job(
        placement=policy,
        frozen=frozen,
        method=plan.recipe.method,
        feed=feed,
        rate=lambda step: rate(step, feed.total, warmup=options.warmup, kind=options.schedule),
        peak=plan.learning_rate,
        max_grad_norm=options.max_grad_norm,
        save_every=options.save_every,
        eval_every=options.eval_every,
        save=write,
        event=event,
        asked_to_stop=lambda: signals.asked,
        judge=feed.judge if isinstance(feed, RolloutFeed) and feed.judges else None,
    )


def _interrupted(folder: Path, number: int) -> Interrupted:
    error = Interrupted(
        Problem(
            what="stopped as asked; the work is saved",
            fix=f"go on with: swift train --resume {folder}",
        )
    )
    error.exit_code = 128 + (number or 2)
    return error
