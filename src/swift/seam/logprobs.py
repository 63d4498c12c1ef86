"""What does a causal language model say of the labels? The module that placements wrap.

The model's own forward runs unchanged, except that its output head answers for the supervised
positions only, inside the head's own call: whatever an engine hooks to the head (gathering of
weights, reduction of gradients) fires as usual, and inputs that only the model understands
(pixels, virtual tokens) need no care. The model then gets one dummy logit to go on with.

Shapes: B rows, T positions, N supervised ones, H hidden width, K rows of questions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swift.core.errors import PlanError, Problem
from swift.seam._heads import columns_of, logp_of
from swift.seam._speaking import heard, speaking
from swift.seam.head import Answer, Post
from swift.seam.probe import fit, question
from swift.seam.types import IGNORE, Need, Outputs


class LogProbs(nn.Module):
    """A causal language model as a function from tokens to log-probabilities of labels."""

    def __init__(self, model: nn.Module, heat: float = 1.0) -> None:
        """Take a causal language model; its logits are divided by `heat`."""
        super().__init__()
        self.model, self._heat = model, heat
        self._post: Post | None = None
        self._head: tuple[nn.Module, ...] = ()  # a tuple, lest it be registered a second time

    def forward(
        self, inputs: Mapping[str, Tensor], labels_BT: Tensor, needs: frozenset[Need]
    ) -> Outputs:
        """Return log p(label), and what else is needed, at the supervised positions.

        The first call also asks the model what it makes of its head's answer (see `probe`).

        Args:
            inputs: What the model's forward takes, without labels.
            labels_BT: int64, already shifted: what position t predicts, or IGNORE. N = 0 is fine.
            needs: "logp" is always given; "entropy" and "mean_logp" on demand.

        Raises:
            PlanError: The model has no output head, or does something unknown to its logits.
        """
        head = self._find_head()
        index_N = (labels_BT != IGNORE).flatten().nonzero()[:, 0]
        ask = _Ask(
            labels_N=labels_BT.flatten().index_select(0, index_N),
            index_N=index_N,
            positions=labels_BT.shape[1],
            entropy="entropy" in needs,
            mean_logp="mean_logp" in needs,
        )
        if self._post is None:
            post, hidden = _probe(self.model, head, inputs)
            self._post = post.heated(self._heat)
            with speaking(head, ask.bind(head, self._post)):
                return _outputs(head(hidden))
        got: list[Answer] = []
        with speaking(head, ask.bind(head, self._post)), heard(head, got, _one_logit):
            self.model(**inputs, use_cache=False)
        return _outputs(got[0])

    def _find_head(self) -> nn.Module:
        if not self._head:
            self._head = (_head_of(self.model),)
        return self._head[0]


def _outputs(answer: Answer) -> Outputs:
    return Outputs(**answer._asdict())


def probe(model: nn.Module, inputs: Mapping[str, Tensor] | None = None) -> Post:
    """Return what `model` makes of its output head's answer, from one forward without gradient.

    Args:
        model: A causal language model, with or without adapters.
        inputs: What its forward takes; by default one row of one token, 0.

    Raises:
        PlanError: It has no output head, or does what no `Post` explains.
    """
    head = _head_of(model)
    if inputs is None:
        device = next(model.parameters()).device
        inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.int64, device=device)}
    with torch.no_grad():
        return _probe(model, head, inputs)[0]


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What the head is asked for."""

    labels_N: Tensor
    index_N: Tensor
    """Where the labels stand among the B T positions."""

    positions: int
    """T."""

    entropy: bool
    mean_logp: bool

    def bind(self, head: nn.Module, post: Post) -> Callable[..., Answer]:
        """Return a forward for `head` that answers this."""
        own = head.forward

        def forward(hidden_BTH: Tensor) -> Answer:
            # Virtual tokens (prompt tuning) stand before the row's own: count from the right.
            own_BTH = hidden_BTH[:, hidden_BTH.shape[1] - self.positions :]
            h_NH = own_BTH.reshape(-1, own_BTH.shape[-1]).index_select(0, self.index_N)
            wanted = {"entropy": self.entropy, "mean_logp": self.mean_logp}
            return logp_of(head, own, h_NH, self.labels_N, post, **wanted)

        return forward


def _probe(model: nn.Module, head: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Post, Tensor]:
    """Return the model's Post, and what its head was given ([B, T, H], in the graph)."""
    heard: list[Tensor] = []
    asked: list[Tensor] = []
    own = head.forward

    def forward(hidden_BTH: Tensor) -> Tensor:
        heard.append(hidden_BTH)
        asked.append(question(columns_of(head, own, hidden_BTH), hidden_BTH.device))
        return asked[0]

    with speaking(head, forward):
        out = model(**inputs, use_cache=False)
    if len(heard) != 1:
        raise _unusable(model, f"calls its output head {len(heard)} times in a forward, not once")
    if heard[0].dim() != 3:
        raise _unusable(
            model, f"asks its head for words in {heard[0].dim() - 1} dimensions, not two"
        )
    return fit(asked[0], out.logits, type(model).__name__), heard[0]


def _one_logit(answer: Answer) -> Tensor:
    return answer.logp_N.new_zeros(1, 1, 1)


def _head_of(model: nn.Module) -> nn.Module:
    try:
        head = model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        head = None
    if not isinstance(head, nn.Module):
        raise _unusable(model, "has no output head")
    return head


def _unusable(model: nn.Module, fact: str) -> PlanError:
    return PlanError(
        Problem(
            where="model",
            what=f"{type(model).__name__} {fact}",
            fix="choose a causal language model",
        )
    )
