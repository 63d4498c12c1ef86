"""What does a head of one number say at the supervised positions? The module of reward models.

As with LogProbs, the model's own forward runs unchanged, except that the head answers for those
positions only, inside its own call; the model gets dummy scores to choose the last token's from.

Shapes: B rows, T positions, N supervised ones, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem
from swift.model.score import HEAD
from swift.model.skeleton import bare
from swift.seam._speaking import heard, speaking
from swift.seam.types import IGNORE, Need, Outputs


class Scores(nn.Module):
    """A sequence classifier of transformers with one label, as a function from tokens to scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._head = (score_head(model),)  # a tuple, lest it be registered a second time

    def forward(
        self, inputs: Mapping[str, Tensor], labels_BT: Tensor, needs: frozenset[Need]
    ) -> Outputs:
        """Return what the head says at the supervised positions.

        The head computes in float32 (float64 for float64 models), whatever the model is in.

        Args:
            inputs: What the model's forward takes, without labels.
            labels_BT: int64: IGNORE but at the supervised positions. N = 0 is fine.
            needs: Not looked at: the score is all there is.
        """
        (head,) = self._head
        index_N = (labels_BT != IGNORE).flatten().nonzero()[:, 0]
        got: list[Tensor] = []

        def dummy(score_N: Tensor) -> Tensor:
            return score_N.new_zeros(1, 1, 1).expand(*labels_BT.shape, 1)

        with speaking(head, _at(head, index_N, labels_BT.shape[1])), heard(head, got, dummy):
            self.model(**inputs, use_cache=False)
        return Outputs(logp_N=torch.zeros_like(got[0]), score_N=got[0])


def _at(head: nn.Module, index_N: Tensor, positions: int) -> Callable[[Tensor], Tensor]:
    """Return a forward for `head` that scores these of the B T positions, [B, T, H] -> [N]."""
    own, dtype = head.forward, cast(Tensor, head.weight).dtype

    def forward(hidden_BTH: Tensor) -> Tensor:
        # Virtual tokens (prompt tuning) stand before the row's own: count from the right.
        own_BTH = hidden_BTH[:, hidden_BTH.shape[1] - positions :]
        h_NH = own_BTH.reshape(-1, own_BTH.shape[-1]).index_select(0, index_N)
        with torch.autocast(h_NH.device.type, enabled=False):
            # A copy: of a view FSDP2 warns in every step that its hooks may be lost.
            score_N: Tensor = own(h_NH.to(dtype))[:, 0].clone()
        return score_N.to(torch.promote_types(dtype, torch.float32))

    return forward


def score_head(model: nn.Module) -> nn.Module:
    """Return the head of one number of a sequence classifier, with or without adapters.

    Raises:
        PlanError: There is none called as transformers calls it, or it gives several numbers.
    """
    inner = bare(model)
    head = getattr(inner, HEAD, None)
    weight = getattr(head, "weight", None)
    if isinstance(head, nn.Module) and isinstance(weight, Tensor) and weight.shape[0] == 1:
        return head
    there = "no head" if weight is None else f"a head of {weight.shape[0]} numbers"
    what = f"{type(inner).__name__} has {there}, and a reward is one number"
    fix = "AutoModelForSequenceClassification.from_pretrained(name, num_labels=1), or its name"
    raise PlanError(Problem(where="model", what=what, fix=fix))
