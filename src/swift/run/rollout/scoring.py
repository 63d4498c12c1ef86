"""Rewards ready to judge in a run: live functions in their places, reward models opened.

A reward model reads what `swift rm` trained it on: the whole conversation, by its own template. Its
score is what the head says at the last token.

Shapes: A answers, B rows of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from swift.chat.message import Message
from swift.chat.source import choose
from swift.chat.template import Template
from swift.chat.thinking import styled
from swift.chat.tokenize import Tokenizer
from swift.checkpoint import CARD, read_card, served
from swift.core.errors import DataError, PlanError
from swift.dataset.encoded import Encoded
from swift.model.facts import ModelFacts, read_facts
from swift.model.score import WEIGHT, holds_head, pad_of
from swift.model.skeleton import skeleton
from swift.model.weights import open_weights
from swift.parallel import Placement, Site, strategies
from swift.plan.rewarding import unnamed
from swift.recipe.sections import Data
from swift.reward import Answer, Reward
from swift.reward.function import Function
from swift.reward.model import RewardModel
from swift.run.given import NOTHING, Given
from swift.run.source import ModelSource
from swift.seam.collate import Lay, collate
from swift.seam.device import address
from swift.tuner import applied, tuners

if TYPE_CHECKING:
    from torch import nn

    from swift.core.env import Ranks
    from swift.engine import Served
    from swift.plan import Plan

_ROOM = 16_384
"""Most tokens of a micro-batch, padding among them; a longer conversation is one by itself."""

_ROLE = "judge"


def judges(plan: Plan, ranks: Ranks, given: Given = NOTHING) -> tuple[Reward, ...]:
    """Return the plan's rewards, ready to judge in this process.

    Args:
        plan: Names them.
        ranks: This process: reward models are opened on its device, each rank its own.
        given: The live functions among them.

    Raises:
        PlanError: One was a live function, which is not here; or a reward model cannot be opened.
    """
    live = list(given.rewards)
    found: list[Reward] = []
    for reward in plan.reward:
        same = next((one for one in live if _is(one, reward)), None)
        if same is not None:
            live.remove(same)  # two functions may have one name
        found.append(same or reward)
    missing = [r for r in found if not (isinstance(r, Function) and r.is_live)]
    if problems := unnamed(missing, plan.code):
        raise PlanError(problems)
    return with_models(found, plan, address(plan.device, ranks.local_rank))


def _is(live: Reward, planned: Reward) -> bool:
    return live.model_dump() == planned.model_dump()


def with_models(rewards: Sequence[Reward], plan: Plan, device: str) -> tuple[Reward, ...]:
    """Return `rewards` with reward models opened, frozen, on `device`, each model once.

    Raises:
        PlanError: One of them cannot be opened.
    """
    names = {r.id for r in rewards if isinstance(r, RewardModel)}
    opened = {name: ScoringModel.open(name, plan, device) for name in sorted(names)}
    return tuple(
        r.opened(opened[r.id].scores) if isinstance(r, RewardModel) else r for r in rewards
    )


@dataclass(frozen=True, kw_only=True)
class ScoringModel:
    """A reward model in its place, with its own voice."""

    placement: Placement
    template: Template
    tokenizer: Tokenizer

    context: int
    """Longest conversation that it reads, in tokens; 0: any."""

    @classmethod
    def open(cls, name: str, plan: Plan, device: str) -> ScoringModel:
        """Open a run, a checkpoint or a model; it computes as the plan says.

        Raises:
            PlanError: It cannot be opened.
            DataError: Its template cannot be read.
        """
        what = served(name)
        facts = read_facts(name, what.folder)
        live = {_ROLE: _opened(facts, what.adapter, plan)}
        source = ModelSource(facts, tuners.get("full")(), dtype=plan.dtype, live=live, scored=True)
        place = strategies.get("none")().place
        site = Site(device=device, dtype=plan.dtype)
        return cls(
            placement=place(source, _ROLE, None, 0.0, site),
            template=styled(choose(what.speech, what.template), _thinking(what)),
            tokenizer=Tokenizer.load(what.speech),
            context=what.context,
        )

    def scores(self, answers: Sequence[Answer]) -> list[float | None]:
        """Return the A scores; None for a conversation that is longer than the model reads.

        Raises:
            DataError: The model's template refuses a conversation.
        """
        if not answers:
            return []
        rows = self._read(answers)
        lengths: list[int] = rows.lengths.tolist()
        fits = [i for i, size in enumerate(lengths) if not 0 < self.context < size]
        found: list[float | None] = [None] * len(answers)
        lay = Lay(pad_id=pad_of(self.tokenizer), scored=True)
        for items in _micro_batches(fits, lengths):
            (out,) = self.placement.no_grad(
                [collate(rows, items, lay)], _ROLE, frozenset({"score"})
            )
            assert out.score_N is not None, "a score was asked for"
            for item, score in zip(items, out.score_N.tolist(), strict=True):
                found[item] = score
        return found

    def _read(self, answers: Sequence[Answer]) -> Encoded:
        """Return the conversations as tokens, written as for training."""
        try:
            texts = [self.template.spans(_conversation(answer)) for answer in answers]
        except DataError as error:
            raise DataError([replace(p, where="reward") for p in error.problems]) from error
        made = self.tokenizer.encode_marked(texts)
        return Encoded(
            ids=made.ids,
            supervised=made.marks,
            offsets=np.concatenate([[0], np.cumsum(made.sizes)]).astype(np.int64),
            sides=1,
            origins=[""] * len(answers),
        )


def _conversation(answer: Answer) -> list[Message]:
    return [*answer.prompt, Message(role="assistant", content=answer.text)]


def _micro_batches(items: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield items of like length together, the longest first: what does not fit fails at once."""
    batch: list[int] = []
    for item in sorted(items, key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > _ROOM:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _opened(facts: ModelFacts, adapter: Path | None, plan: Plan) -> nn.Module:
    """Return a frozen sequence classifier of one number, with its adapter beside its weights."""
    dtype = getattr(torch, plan.dtype)
    model = skeleton(facts, plan.attention, scored=True)
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    head = {}
    if not holds_head(Path(facts.folder)):
        head = {WEIGHT: torch.zeros(shapes.pop(WEIGHT), dtype=dtype)}  # the adapter has its own
    weights = open_weights(facts, shapes, scored=True)
    state = {name: weights.read(name).to(dtype) for name in shapes}
    model.load_state_dict(state | head, assign=True, strict=False)
    model.tie_weights()  # type: ignore[operator]  # of transformers
    if adapter is not None:
        model = applied(model, adapter).to(dtype)
    return model.requires_grad_(False).eval()


def _thinking(what: Served) -> Literal["keep", "drop", "empty"]:
    """Return what became of reasoning in the model's training."""
    folder = what.adapter or what.folder
    if not (folder / CARD).is_file():
        return "keep"
    return Data.model_validate(read_card(folder).recipe.get("data", {})).thinking
