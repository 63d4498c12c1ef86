"""Questions of an online method: prompts as tokens, with what judges of their answers need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swift.chat.speaker import Speaker
from swift.core.errors import DataError, PlanError, Problem
from swift.dataset.encoded import Block, Encoded, Store

if TYPE_CHECKING:
    from swift.chat.message import Sample
    from swift.chat.tokenize import Tokenizer
    from swift.chat.verify import Trial
    from swift.dataset.report import Report
    from swift.plan import Plan
    from swift.reward import Reward


def questions(
    plan: Plan,
    found: Iterable[Sample],
    tried: Trial | None,
    tokenizer: Tokenizer,
    report: Report,
) -> tuple[Encoded, list[Sample]]:
    """Return the prompts as tokens, up to where the assistant begins, and the samples they are of.

    Stored item i of the tokens is of sample i. A prompt that leaves less room than `max_tokens`
    for its answer is left out and counted: one that is cut would be another question.

    Raises:
        PlanError: No prompt could leave so much.
        DataError: None is left.
    """
    most = _room(plan)
    speaker = Speaker(tokenizer, tried.template if tried else None)
    options: dict[str, Any] = (
        {"enable_thinking": False} if plan.recipe.data.thinking == "empty" else {}
    )
    store, kept = Store(sides=1), []
    for sample in found:
        try:
            ids = speaker.chat(sample.chosen, sample.tools, **options)
        except DataError as error:
            report.note("template-refuses", f"{sample.origin} ({error.problems[0].what})")
            continue
        if len(ids) > most:
            report.note("too-long", sample.origin)
            continue
        store.add(_block(ids, sample))
        kept.append(sample)
        report.measure(np.array([len(ids)]), 0)
        report.samples += 1
        report.tokens += len(ids)
    if not kept:
        what = f"no question is left to ask: {report.describe()}"
        fix = "shorter questions, a smaller method.max_tokens, or a larger data.max_length"
        long = next(iter(report.by_count()), "") == "too-long"
        raise DataError(Problem(where="dataset", what=what, fix=fix if long else report.advice()))
    if problem := _unchecked(plan.reward, kept):
        raise DataError(problem)
    return store.close(), kept


def _unchecked(rewards: Sequence[Reward], kept: Sequence[Sample]) -> Problem | None:
    """Return what is wrong where no reward will ever say anything: nothing would be learnt."""
    if not rewards or any(sample.solution for sample in kept):
        return None
    names = " and ".join(f"`{reward.label}`" for reward in rewards if reward.checks)
    if not all(reward.checks for reward in rewards):
        return None
    what = f"no row has a solution, and {names} compares answers with one"
    return Problem(where="dataset", what=what, fix="a column `solution`, or a reward of your own")


def _room(plan: Plan) -> int:
    """Return the most tokens of a prompt."""
    needed = getattr(plan.recipe.method, "max_tokens", 1)
    if plan.room > needed:
        return plan.room - needed
    what = f"answers of {needed} tokens leave no room for a question: {plan.room} is the most"
    fix = "a smaller `method.max_tokens`, or a larger `data.max_length`"
    raise PlanError(Problem(where="method.max_tokens", what=what, fix=fix))


def _block(ids: list[int], sample: Sample) -> Block:
    key = hashlib.blake2b(repr((ids, sample.solution)).encode(), digest_size=8).digest()
    return Block(
        np.array(ids, dtype=np.int32),
        np.zeros(len(ids), dtype=np.bool_),
        np.array([len(ids)]),
        [sample.origin],
        [int.from_bytes(key, "little")],
    )
