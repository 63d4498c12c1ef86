"""Answers drawn from the policy as it is now, by any engine: in this process or elsewhere."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist

from swift.core.errors import (
    Interrupted,
    MachineError,
    PlanError,
    Problem,
    SwiftError,
    TrainingError,
)
from swift.engine import Delta, Engine, Fresh, Request, Sampling, Served
from swift.plan.rewarding import remembered
from swift.run.rollout.drawn import Drawn
from swift.run.rollout.replies import Replies
from swift.run.rollout.speaking import Asked, Speaking
from swift.run.signals import heard
from swift.run.world import agreed, on_every_rank
from swift.seam.device import address

if TYPE_CHECKING:
    from swift.core.env import Ranks
    from swift.parallel import Placement
    from swift.plan import Plan

Event = Callable[..., Any]
T = TypeVar("T")

_LOOK = 0.5
"""Seconds between two looks at whether a missing server is back."""

_PATIENCE = 3600.0
"""Seconds after which a run stops that waits for one."""


class Drawer:
    """Asks an engine for answers of the policy as it is.

    Every rank has one; what it does, all ranks do together.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Placement,
        ranks: Ranks,
        event: Event,
        asked_to_stop: Callable[[], int],
    ) -> None:
        """Open the engine.

        Args:
            plan: Names the engine, and how answers are drawn.
            policy: Whose answers are wanted.
            ranks: This process: it draws its share, but from an engine elsewhere only rank 0 does.
            event: Is told who is missing.
            asked_to_stop: Number of the signal that asked for the end, or 0.

        Raises:
            PlanError: The engine cannot run the model, or nobody has named the code of `turns`.
        """
        self._plan, self._policy, self._ranks = plan, policy, ranks
        self.rank, self.world = ranks.rank, ranks.world
        self._event, self._asked_to_stop = event, asked_to_stop
        method: Any = plan.recipe.method
        self._sampling = Sampling(
            temperature=method.temperature,
            top_p=method.top_p,
            top_k=method.top_k,
            min_p=method.min_p,
            logprobs=0,
        )
        self._most: int = method.max_tokens
        self._version = 0
        self._remote = plan.recipe.engine.remote
        self.engine: Engine | None = None
        if not self._remote or ranks.rank == 0:
            with on_every_rank():
                self.engine = _opened(plan, ranks)
        elif dist.is_initialized():
            agreed(None)
        turns = remembered(method.turns, plan.code) if method.turns else None
        self._replies = Replies.of(turns, method.max_turns, self.engine)

    def close(self) -> None:
        """Let the engine go."""
        if self.engine is not None:
            self.engine.close()

    # --- weights -----------------------------------------------------------------------------

    def sync(self, version: int) -> None:
        """Give the engine the policy's weights, `version` optimiser steps on.

        Raises:
            MachineError: It is elsewhere, and did not come back in time.
            Interrupted: Asked for while waiting.
        """
        self._version = version
        with self._fresh() as fresh:
            while self._tried(lambda: self._send(fresh())) is None:
                pass

    @contextmanager
    def _fresh(self) -> Iterator[Callable[[], Fresh]]:
        """Within it, return what makes the policy's weights: an adapter, or what is trained."""
        tuner, policy, version = self._plan.recipe.tuner, self._policy, self._version
        if not tuner.adapters:
            yield lambda: Fresh(version=version, weights=policy.weights(trained_only=True))
            return
        with tempfile.TemporaryDirectory(prefix="swift-adapter-") as folder:
            base = self._plan.model.folder
            tuner.save(policy.weights(trained_only=True), policy.model(), Path(folder), base)
            yield lambda: Fresh(version=version, adapter=Path(folder))

    def _send(self, fresh: Fresh) -> None:
        try:
            if self.engine is not None:
                self.engine.sync(fresh)
        finally:
            for _ in fresh.weights:
                pass  # gathering a weight takes every rank, also where one has failed

    # --- answers -----------------------------------------------------------------------------

    def draw(self, asked: Sequence[Asked]) -> list[Drawn]:
        """Return an answer to each, in order; all ranks get all of them.

        An engine elsewhere that was missing may have been started anew: it gets the weights again.

        Raises:
            MachineError: The engine failed, or did not come back in time.
            Interrupted: Asked for before all are there.
        """
        world = 1 if self._remote else self._ranks.world
        mine = asked[self._ranks.rank :: world] if self.engine is not None else []
        while (shares := self._tried(lambda: self._draw(mine))) is None:
            self.sync(self._version)
        return [shares[i % world][i // world] for i in range(len(asked))]

    def _tried(self, act: Callable[[], Any]) -> list[Any] | None:
        """Return what `act` gave on every rank; None where it is to be done again.

        An engine elsewhere that is missing is named, and waited for.
        """
        share, error, again = None, None, False
        try:
            share = act()
        except MachineError as missing:
            again = self._remote
            try:
                if not again:
                    raise
                self._wait(missing)
            except SwiftError as raised:
                error = raised
        except SwiftError as raised:
            error = raised
        found = agreed(error, (again, share))
        return None if any(missed for missed, _ in found) else [shared for _, shared in found]

    def _wait(self, missing: MachineError) -> None:
        """Say who is missing, and return when it is back.

        Raises:
            MachineError: It is not, after `_PATIENCE`.
            Interrupted: A signal asked for the end.
        """
        assert self.engine is not None
        said, end = missing.problems[0], time.monotonic() + _PATIENCE
        self._event("warning", text=f"{said.what}; the run goes on once it is back")
        while time.monotonic() < end:
            if self._asked_to_stop():
                raise Interrupted(Problem(what="stopped as asked"))
            with suppress(MachineError):
                self.engine.load()
                self._event("note", text="it is back: it gets the weights, and draws again")
                return
            time.sleep(_LOOK)
        raise missing

    def heard(self, act: Callable[[], T]) -> T:
        """Return what `act` returns, unless a signal asks for the end first: `signals.heard`."""
        return heard(act, self._asked_to_stop)

    def _draw(self, asked: Sequence[Asked]) -> list[Drawn]:
        return self.heard(lambda: self._drawn(asked)) if asked else []

    def _drawn(self, asked: Sequence[Asked]) -> list[Drawn]:
        """Return this rank's answers: turn after turn, those that go on together."""
        assert self.engine is not None
        speaking = [Speaking(one) for one in asked]
        going = speaking
        for turn in range(self._replies.most):
            requests = [self._request(one, turn) for one in going]
            for one, delta in zip(going, self.engine.generate(requests), strict=True):
                self._check(delta)
                one.hear(delta)
            if turn + 1 < self._replies.most:
                going = self._replies.to(going, self._most)
            if not going:
                break
        return [one.drawn() for one in speaking]

    def _request(self, one: Speaking, turn: int) -> Request:
        seed = hashlib.sha256(f"{one.asked.name}:{turn}".encode()).digest()
        update = {
            "max_tokens": self._most - len(one.ids),
            "seed": int.from_bytes(seed[:8], "little") >> 2,
        }
        sampling = self._sampling.model_copy(update=update)
        return Request(ids=[*one.asked.prompt, *one.ids], sampling=sampling)

    def _check(self, delta: Delta) -> None:
        """Stop at an answer that the engine could not give.

        Raises:
            TrainingError: So it is.
            MachineError: Other weights gave it: the engine was started anew.
        """
        if delta.finish in ("error", "cancelled"):
            what = f"the engine failed while it drew an answer: {delta.error or delta.finish}"
            fix = "where memory ran out: a smaller `engine.max_batch` or `method.max_tokens`"
            raise TrainingError(Problem(where="engine", what=what, fix=fix))
        if delta.version != self._version:
            what = "the engine was started anew, and has not the policy's weights"
            fix = "let no other run give weights to the same server"
            raise MachineError(Problem(where="engine", what=what, fix=fix))


def _opened(plan: Plan, ranks: Ranks) -> Engine:
    """Return the recipe's engine with the base model in it."""
    if not plan.model.folder:
        what = (
            "answers are drawn by an engine, which opens a model's folder; the live model has none"
        )
        raise PlanError(Problem(where="model", what=what, fix="save it, and name its folder"))
    options = plan.recipe.engine
    own: Mapping[str, Any] = {"context": plan.room, "dtype": plan.dtype}
    if options.name == "torch":  # what the recipe leaves open is as the training has it
        said = options.model_fields_set
        options = options.model_copy(update={k: v for k, v in own.items() if k not in said})
    served = Served(
        id=plan.model.id,
        folder=Path(plan.model.folder),
        speech=plan.model.voice,
        template=plan.template,
        trust=plan.recipe.model.trust_remote_code,
        device_map=address(plan.device, ranks.local_rank),
        context=plan.model.context,
    )
    return options.open(served)
