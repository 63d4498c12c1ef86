"""Losses of one pair, as functions of how far each answer moved from the reference.

Each takes the pairs (log-ratios c and r of the chosen and the rejected answer, [P]), beta and the
label smoothing e, and returns [P]. Write h = beta (c - r) and s for log sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from swift.method._pairs import Pairs

Loss = Callable[["Pairs", float, float], "Tensor"]


def _s(values: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(values)


def _margin(pairs: Pairs, beta: float) -> Tensor:
    return beta * (pairs.chosen_P - pairs.rejected_P)


def sigmoid(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """-(1 - e) s(h) - e s(-h): DPO, eq. 7 of arXiv:2305.18290; with e > 0 conservative DPO."""
    h = _margin(pairs, beta)
    return -(1 - smoothing) * _s(h) - smoothing * _s(-h)


def sigmoid_norm(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """`sigmoid` of log-ratios a token: length-normalised DPO (arXiv:2411.15124, section 5)."""
    return sigmoid(pairs.mean, beta, smoothing)


def hinge(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """max(0, 1 - h): SLiC's (arXiv:2305.10425) on DPO's rewards (arXiv:2309.06657)."""
    return (1 - _margin(pairs, beta)).relu()


def ipo(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """(c' - r' - 1 / (2 beta))^2 of log-ratios a token: eq. 17 of arXiv:2310.12036."""
    mean = pairs.mean
    return (mean.chosen_P - mean.rejected_P - 1 / (2 * beta)) ** 2


def robust(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """(-(1 - e) s(h) + e s(-h)) / (1 - 2 e): unbiased for labels flipped at rate e (2403.00409)."""
    h = _margin(pairs, beta)
    return (-(1 - smoothing) * _s(h) + smoothing * _s(-h)) / (1 - 2 * smoothing)


def sppo(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """(c - 1 / (2 beta))^2 + (r + 1 / (2 beta))^2: SPPO with sure wins (eq. 4.7, 2405.00675)."""
    half = 0.5 / beta
    return (pairs.chosen_P - half) ** 2 + (pairs.rejected_P + half) ** 2


def exo(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """KL(q || (1 - e, e)) with q = (sigmoid h, sigmoid -h): eq. 16 of arXiv:2402.00856.

    Without smoothing e is 0.001, as in the paper: the second logarithm is infinite at 0.
    """
    from math import log, log1p

    h, e = _margin(pairs, beta), smoothing or 1e-3
    return h.sigmoid() * (_s(h) - log1p(-e)) + (-h).sigmoid() * (_s(-h) - log(e))


def nca(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """-s(bc) - s(-bc) / 2 - s(-br) / 2: of arXiv:2402.05369."""
    c, r = beta * pairs.chosen_P, beta * pairs.rejected_P
    return -_s(c) - 0.5 * _s(-c) - 0.5 * _s(-r)


def bco(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """-s(bc) - s(-br): binary classifier optimisation without its shift (arXiv:2404.04656)."""
    return -_s(beta * pairs.chosen_P) - _s(-beta * pairs.rejected_P)


def apo_zero(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """1 - sigmoid(bc) + sigmoid(br): for answers better than the model's (eq. 7, 2408.06266)."""
    return 1 - (beta * pairs.chosen_P).sigmoid() + (beta * pairs.rejected_P).sigmoid()


def apo_down(pairs: Pairs, beta: float, smoothing: float) -> Tensor:
    """sigmoid(bc) + 1 - sigmoid(h): for answers worse than the model's (eq. 8, 2408.06266)."""
    return (beta * pairs.chosen_P).sigmoid() + 1 - _margin(pairs, beta).sigmoid()


LOSSES: Mapping[str, Loss] = {
    loss.__name__: loss
    for loss in (sigmoid, sigmoid_norm, hinge, ipo, robust, sppo, exo, nca, bco, apo_zero, apo_down)
}
