"""Compare selected log-probabilities with the plain computation: time, and peak memory.

python bench/head.py            pairs in turn at a tiny shape, then the peak at a large one
python bench/head.py trainable  the same with a head that trains
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from swift.seam.head import head_logp

H, V, N, PAIRS = 256, 8192, 450, 21


def _pair(trains: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return ours and plain: forward and backward of a mean over N of 2 N positions."""
    torch.manual_seed(0)
    weight_VH = (torch.randn(V, H) / H**0.5).requires_grad_(trains)
    hidden, labels = torch.randn(2 * N, H), torch.randint(V, (2 * N,))
    on = torch.arange(2 * N) % 2 == 0

    def ours() -> None:
        h = hidden.clone().requires_grad_()
        logp_N = head_logp(h[on], weight_VH, labels[on]).logp_N
        (-logp_N.mean()).backward()  # type: ignore[no-untyped-call]
        weight_VH.grad = None

    def plain() -> None:
        h = hidden.clone().requires_grad_()
        logits = functional.linear(h[on], weight_VH)
        functional.cross_entropy(logits, labels[on]).backward()  # type: ignore[no-untyped-call]
        weight_VH.grad = None

    return ours, plain


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _ratio(trains: bool) -> None:
    ours, plain = _pair(trains)
    for _ in range(3):
        ours(), plain()
    pairs = [(_seconds(ours), _seconds(plain)) for _ in range(PAIRS)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    kind = "trainable" if trains else "frozen"
    print(f"H {H}, V {V}, N {N}, {kind}: ours {mine * 1e3:.1f} ms, ", end="")
    print(f"plain {theirs * 1e3:.1f} ms, ratio {ratio:.3f}")


def _peak(trains: bool, hidden: int, vocab: int, positions: int) -> None:
    """Print the growth of this process's peak memory over a forward and backward."""
    torch.manual_seed(0)
    h = torch.randn(positions, hidden, requires_grad=True)
    weight_VH = torch.randn(vocab, hidden).mul_(hidden**-0.5).requires_grad_(trains)  # no copy
    labels = torch.randint(vocab, (positions,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    head_logp(h, weight_VH, labels)[0].mean().backward()  # type: ignore[no-untyped-call]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"H {hidden}, V {vocab}, N {positions}: peak above start {grown:.0f} MiB, ", end="")
    print(f"{time.process_time() - start:.1f} CPU s")


if __name__ == "__main__":
    trains = "trainable" in sys.argv
    if "peak" in sys.argv:
        _peak(trains, 896, 151_936, 8192)
    else:
        torch.set_num_threads(1)
        _ratio(trains)
        subprocess.run([sys.executable, __file__, "peak", *sys.argv[1:]], check=True)
