"""From logits to the next token of each row, each row by its own rule and its own seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from swift.engine import Sampling, TokenLogprob
from swift.seam.device import widest


@dataclass
class Chooser:
    """What one answer's choices depend on, besides the logits."""

    sampling: Sampling
    random: Random
    prompt: Sequence[int]
    seen: dict[int, int] = field(default_factory=dict)
    """Token of the answer -> how often."""

    banned: Sequence[int] = ()
    """Tokens that may not come now: ends of an answer that is too short."""

    @property
    def bends(self) -> bool:
        """Whether the logits are changed before anything else."""
        s = self.sampling
        return bool(
            self.banned
            or s.logit_bias
            or s.repetition_penalty != 1
            or ((s.presence_penalty or s.frequency_penalty) and self.seen)
        )


def choose(logits_NV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """Return the next token of each row. `logits_NV` may be changed.

    A row's random number comes from its own generator, one a token, and picks by the inverse of
    the cumulated probabilities: the same whoever else is in the batch.
    """
    logits_NV = logits_NV.float() if logits_NV.dtype in _HALF else logits_NV
    for row, chooser in enumerate(choosers):
        if chooser.bends:
            _bend(logits_NV[row], chooser)
    chosen: list[int] = logits_NV.argmax(-1).tolist()
    # Apart, since a row that is sorted meets its tokens in another order than one that is not.
    for filtered in (False, True):
        rows = [
            i
            for i, c in enumerate(choosers)
            if c.sampling.temperature > 0 and _filters(c.sampling) == filtered
        ]
        if rows:
            picked = logits_NV if len(rows) == len(choosers) else logits_NV[rows]
            drawn = _draw(picked, [choosers[i] for i in rows], filtered)
            for row, token in zip(rows, drawn, strict=True):
                chosen[row] = token
    return chosen


def _filters(s: Sampling) -> bool:
    return bool(s.top_k or s.top_p < 1 or s.min_p)


_HALF = (torch.float16, torch.bfloat16)


def logprobs(logits_NV: Tensor, chosen: Sequence[int], most: Sequence[int]) -> list[TokenLogprob]:
    """Return each chosen token's log-probability, with the `most` likeliest of its row."""
    logp_NV = logits_NV.float().log_softmax(-1)
    own = logp_NV.gather(1, torch.tensor(chosen, device=logp_NV.device)[:, None])[:, 0].tolist()
    best, ids = logp_NV.topk(min(max(most), logp_NV.shape[1]), dim=-1)
    tops = [
        tuple(zip(i[:m], b[:m], strict=True))
        for i, b, m in zip(ids.tolist(), best.tolist(), most, strict=True)
    ]
    return [TokenLogprob(*fields) for fields in zip(chosen, own, tops, strict=True)]


def _bend(logits_V: Tensor, chooser: Chooser) -> None:
    """Apply bias and penalties to one row, in place."""
    s, device = chooser.sampling, logits_V.device
    if s.repetition_penalty != 1:
        tokens = torch.tensor(sorted({*chooser.prompt, *chooser.seen}), device=device)
        old = logits_V[tokens]
        p = s.repetition_penalty
        logits_V[tokens] = torch.where(old > 0, old / p, old * p)
    if (s.presence_penalty or s.frequency_penalty) and chooser.seen:
        tokens = torch.tensor(list(chooser.seen), device=device)
        counts = torch.tensor(list(chooser.seen.values()), dtype=logits_V.dtype, device=device)
        logits_V[tokens] -= s.presence_penalty + s.frequency_penalty * counts
    if s.logit_bias:
        _add(logits_V, s.logit_bias)
    if chooser.banned:
        logits_V[torch.tensor(list(chooser.banned), device=device)] = float("-inf")


def _add(logits_V: Tensor, bias: Mapping[int, float]) -> None:
    tokens = torch.tensor(list(bias), device=logits_V.device)
    logits_V[tokens] += torch.tensor(
        list(bias.values()), dtype=logits_V.dtype, device=logits_V.device
    )


def _draw(logits_NV: Tensor, choosers: Sequence[Chooser], filtered: bool) -> list[int]:
    def column(values: Sequence[float]) -> Tensor:
        device = logits_NV.device
        return torch.tensor(values, dtype=widest(device), device=device)[:, None]

    rules = [c.sampling for c in choosers]
    # The best logit is 0 before it is divided, so that no temperature makes it infinite.
    heat = column([max(s.temperature, 1e-30) for s in rules]).to(logits_NV.dtype)
    share_NV = ((logits_NV - logits_NV.amax(-1, keepdim=True)) / heat).softmax(-1)
    picks = column([c.random.random() for c in choosers])
    order_NV: Tensor | None = None
    if filtered:
        share_NV, order_NV = share_NV.sort(stable=True, dim=-1, descending=True)
        share_NV = share_NV * _kept(share_NV, rules)
    sums_NV = share_NV.cumsum(-1, dtype=widest(share_NV.device))
    # right=True: a token without probability is never met, not even by the number 0.
    found = torch.searchsorted(sums_NV, picks * sums_NV[:, -1:], right=True)
    found = found.clamp_(max=logits_NV.shape[1] - 1)
    if order_NV is not None:
        found = order_NV.gather(1, found)
    tokens: list[int] = found[:, 0].tolist()
    return tokens


def _kept(share_NV: Tensor, rules: Sequence[Sampling]) -> Tensor:
    """Return which of the sorted tokens top_k, top_p and min_p leave in; always the first."""
    vocabulary = share_NV.shape[1]
    device = share_NV.device
    most = torch.tensor([s.top_k or vocabulary for s in rules], device=device)[:, None]
    kept = torch.arange(vocabulary, device=device) < most
    within = torch.tensor([s.top_p for s in rules], dtype=widest(device), device=device)[:, None]
    left_NV = share_NV * kept
    left_NV = left_NV / left_NV.sum(-1, keepdim=True)
    before = left_NV.cumsum(-1, dtype=widest(device)) - left_NV
    kept &= (before < within) | (within >= 1)
    least = torch.tensor([s.min_p for s in rules], dtype=share_NV.dtype, device=device)[:, None]
    kept &= share_NV >= least * share_NV[:, :1]
    kept[:, 0] = True
    return kept
