"""Selected log-probabilities equal the plain computation, in value and gradient, in little room."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from swift.seam.head import Answer, Post, head_logp

H, V, N = 24, 61, 37
POSTS = [
    Post(),
    Post(mul=0.25),
    Post(softcap=2.0),
    Post(columns=50),
    Post(mul=3.0, softcap=4.0, columns=53),
]


def plain(
    h_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, bias: Tensor | None, post: Post
) -> Answer:
    dtype = torch.promote_types(h_NH.dtype, torch.float32)
    logits = post(torch.nn.functional.linear(h_NH, weight_VH, bias).to(dtype))
    logp_NV = logits.log_softmax(-1)
    return Answer(
        logp_NV.gather(1, labels_N[:, None])[:, 0],
        -(logp_NV.exp() * logp_NV).sum(-1),
        logp_NV.mean(-1),
    )


def loss_of(
    logp_N: Tensor, entropy_N: Tensor | None = None, mean_logp_N: Tensor | None = None
) -> Tensor:
    """A loss whose gradient differs at every position."""
    loss = (logp_N.sigmoid() * torch.linspace(-1, 2, len(logp_N), dtype=logp_N.dtype)).sum()
    loss = loss + logp_N.square().mean()
    loss = loss if entropy_N is None else loss + 0.3 * entropy_N.square().sum()
    return loss if mean_logp_N is None else loss + 0.2 * mean_logp_N.square().sum()


def far(a: Tensor, b: Tensor) -> float:
    """Return the greatest difference, relative to the greatest value."""
    return float(((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).detach())


def case(dtype: torch.dtype = torch.float64, n: int = N) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "h": torch.randn(n, H, dtype=dtype) * 2,
        "weight": torch.randn(V, H, dtype=dtype) / 3,
        "bias": torch.randn(V, dtype=dtype),
        "labels": torch.randint(0, 50, (n,)),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize(("trains", "biased"), list(product([False, True], [False, True])))
@pytest.mark.parametrize(("entropy", "mean_logp"), list(product([False, True], [False, True])))
def test_value_and_gradient_equal_the_plain_computation(
    post: Post, trains: bool, biased: bool, entropy: bool, mean_logp: bool, dtype: torch.dtype
) -> None:
    data = case(dtype)
    wanted = [data["h"].requires_grad_()]
    bias = data["bias"].requires_grad_(trains) if biased else None
    if trains:
        wanted.append(data["weight"].requires_grad_())
        wanted += [] if bias is None else [bias]
    row_bytes = V * 3 * dtype.itemsize
    ours = head_logp(
        data["h"],
        data["weight"],
        data["labels"],
        bias,
        post=post,
        entropy=entropy,
        mean_logp=mean_logp,
        chunk_bytes=10 * row_bytes,
    )
    truth = plain(data["h"], data["weight"], data["labels"], bias, post)
    truth = Answer(
        truth.logp_N,
        truth.entropy_N if entropy else None,
        truth.mean_logp_N if mean_logp else None,
    )
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    for a, b in zip(ours, truth, strict=True):
        assert (a is None) == (b is None)
        assert a is None or b is None or far(a, b) < limit
    got = torch.autograd.grad(loss_of(*ours), wanted)
    want = torch.autograd.grad(loss_of(*truth), wanted)
    for a, b in zip(got, want, strict=True):
        assert far(a, b) < limit


@pytest.mark.parametrize("post", [Post(), Post(mul=0.25), Post(columns=50)])
def test_a_head_too_large_to_keep_gives_the_same_gradient(post: Post) -> None:
    data = case()
    wanted = [data["h"].requires_grad_(), data["weight"].requires_grad_()]

    def grads(chunk_bytes: int) -> tuple[Tensor, ...]:
        args = data["h"], data["weight"], data["labels"]
        said = head_logp(*args, post=post, mean_logp=True, chunk_bytes=chunk_bytes)
        return torch.autograd.grad(loss_of(*said), wanted)

    for a, b in zip(grads(3 * V * 8), grads(2**30), strict=True):
        assert far(a, b) < 1e-12


def test_only_entropy_can_be_differentiated() -> None:
    for trains in (False, True):
        data = case()
        wanted = [data["h"].requires_grad_()]
        wanted += [data["weight"].requires_grad_()] if trains else []
        args = data["h"], data["weight"], data["labels"]
        entropy_N = head_logp(*args, entropy=True).entropy_N
        assert entropy_N is not None
        got = torch.autograd.grad(entropy_N.square().sum(), wanted)
        truth = plain(*args, None, Post()).entropy_N
        assert truth is not None
        want = torch.autograd.grad(truth.square().sum(), wanted)
        assert all(far(a, b) < 1e-12 for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("trains", [False, True])
def test_smoothed_labels_are_those_of_cross_entropy(trains: bool) -> None:
    data = case()
    wanted = [data["h"].requires_grad_()]
    wanted += [data["weight"].requires_grad_()] if trains else []
    said = head_logp(data["h"], data["weight"], data["labels"], mean_logp=True, chunk_bytes=5000)
    assert said.mean_logp_N is not None
    ours = -(0.9 * said.logp_N + 0.1 * said.mean_logp_N).sum()
    truth = torch.nn.functional.cross_entropy(
        data["h"] @ data["weight"].t(), data["labels"], label_smoothing=0.1, reduction="sum"
    )
    assert far(ours, truth) < 1e-12
    got, want = (torch.autograd.grad(loss, wanted) for loss in (ours, truth))
    assert all(far(a, b) < 1e-12 for a, b in zip(got, want, strict=True))


def test_logits_far_from_zero_neither_overflow_nor_vanish() -> None:
    h_NH = torch.eye(2, requires_grad=True)
    weight_VH = torch.tensor([[1000.0, -1000.0], [900.0, -1000.0], [-1000.0, -1000.0]])
    logp_N, entropy_N, _ = head_logp(h_NH, weight_VH, torch.tensor([1, 2]), entropy=True)
    assert entropy_N is not None
    (logp_N.sum() + entropy_N.sum()).backward()  # type: ignore[no-untyped-call]
    assert logp_N.tolist() == pytest.approx([-100.0, -math.log(3)])
    assert entropy_N.tolist() == pytest.approx([0.0, math.log(3)])
    assert h_NH.grad is not None
    assert h_NH.grad.isfinite().all()


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("entropy", [False, True])
def test_no_position_gives_zero_gradients_and_keeps_the_graph(trains: bool, entropy: bool) -> None:
    data = case(n=0)
    source = torch.randn(5, H, dtype=torch.float64, requires_grad=True)
    weight = data["weight"].requires_grad_(trains)
    logp_N, entropy_N, _ = head_logp(
        source[torch.zeros(5, dtype=torch.bool)], weight, data["labels"], entropy=entropy
    )
    assert logp_N.shape == (0,)
    assert (entropy_N is not None) == entropy
    logp_N.sum().backward()  # type: ignore[no-untyped-call]
    assert source.grad is not None
    assert not source.grad.any()
    assert not trains or (weight.grad is not None and not weight.grad.any())


@pytest.mark.parametrize("trains", [False, True])
def test_half_precision_is_as_near_to_the_truth_as_the_plain_computation(trains: bool) -> None:
    exact, low = case(), {k: v for k, v in case().items() if k != "bias"}
    low = {k: v if k == "labels" else v.bfloat16() for k, v in low.items()}
    exact = {k: v.to(exact["h"].dtype) if k != "labels" else v for k, v in low.items()}

    def grads(data: dict[str, Tensor], ours: bool) -> tuple[Tensor, ...]:
        wanted = [data["h"].requires_grad_()]
        wanted += [data["weight"].requires_grad_()] if trains else []
        args = data["h"], data["weight"], data["labels"]
        if ours:
            logp_N, _, mean_logp_N = head_logp(*args, mean_logp=True, chunk_bytes=5000)
        else:
            logp_N, _, mean_logp_N = plain(*args, None, Post())
        assert logp_N.dtype == torch.promote_types(data["h"].dtype, torch.float32)
        return (logp_N, *torch.autograd.grad(loss_of(logp_N, None, mean_logp_N), wanted))

    truth, mine, theirs = grads(exact, False), grads(low, True), grads(low, False)
    for t, a, b in zip(truth, mine, theirs, strict=True):
        assert a.dtype == b.dtype
        assert far(a.double(), t) < 2 * far(b.double(), t)


def test_autocast_computes_the_products_in_its_dtype() -> None:
    data = case(torch.float32)
    h, weight = data["h"].requires_grad_(), data["weight"].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logp_N, *_ = head_logp(h, weight, data["labels"])
        truth, *_ = plain(h, weight, data["labels"], None, Post())
    assert logp_N.dtype == torch.float32
    assert far(logp_N, truth) < 1e-5
    got = torch.autograd.grad(loss_of(logp_N, None), [h, weight])
    want = torch.autograd.grad(loss_of(truth, None), [h, weight])
    assert all(a.dtype == torch.float32 for a in got)
    assert all(far(a, b) < 2**-7 for a, b in zip(got, want, strict=True))


def test_a_frozen_head_keeps_one_row_per_position_and_not_its_weight() -> None:
    data = case()
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        head_logp(data["h"].requires_grad_(), data["weight"], data["labels"])
    assert [t.shape for t in kept] == [(N, H)]


def test_without_gradient_nothing_is_kept_or_computed_for_it() -> None:
    data = case()
    with torch.no_grad():
        logp_N, *_ = head_logp(data["h"].requires_grad_(), data["weight"], data["labels"])
        assert not logp_N.requires_grad
        with torch.profiler.profile() as profile:
            head_logp(data["h"], data["weight"], data["labels"])
    products = [e.count for e in profile.key_averages() if e.key in ("aten::addmm", "aten::mm")]
    assert sum(products) <= 1


def test_a_label_outside_the_vocabulary_is_refused() -> None:
    data = case()
    with pytest.raises(RuntimeError, match="out of bounds"):
        head_logp(data["h"], data["weight"], data["labels"] + V)


def _rank(rank: int, store: str, cut: int, post: Post, trains: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    data, mine = case(), slice(0, cut) if rank == 0 else slice(cut, V)
    full = [data["h"], data["weight"], data["bias"]]
    share = [data["h"].clone(), data["weight"][mine].clone(), data["bias"][mine].clone()]
    for tensors in (full, share):
        for tensor in tensors if trains else tensors[:1]:
            tensor.requires_grad_()
    group = dist.group.WORLD
    ours = head_logp(
        share[0],
        share[1],
        data["labels"],
        share[2],
        post=post,
        entropy=True,
        mean_logp=True,
        chunk_bytes=5000,
        group=group,
        vocab_start=mine.start,
    )
    truth = plain(full[0], full[1], data["labels"], full[2], post)
    for a, b in zip(ours, truth, strict=True):
        assert a is not None
        assert b is not None
        assert far(a, b) < 1e-12
    loss_of(*ours).backward()  # type: ignore[no-untyped-call]
    loss_of(*truth).backward()  # type: ignore[no-untyped-call]
    wanted: list[Any] = [t.grad for t in full]
    assert far(share[0].grad, wanted[0]) < 1e-12  # type: ignore[arg-type]
    if trains:
        for a, b in zip(share[1:], wanted[1:], strict=True):
            assert a.grad is not None
            assert float((a.grad - b[mine]).abs().max()) < 1e-12 * float(b.abs().max())
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize(("cut", "post"), [(30, Post()), (40, POSTS[4]), (55, POSTS[3])])
def test_a_vocabulary_split_over_two_processes_equals_one(
    tmp_path: Path, cut: int, post: Post, trains: bool
) -> None:
    spawn(_rank, (str(tmp_path / "store"), cut, post, trains), nprocs=2)  # type: ignore[no-untyped-call]


PEAK = """
import resource, sys, torch
from swift.seam.head import head_logp
n, h, v = 2048, 64, 151_936
x, w = torch.randn(n, h, requires_grad=True), torch.randn(v, h)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head_logp(x, w, torch.randint(v, (n,)))[0].mean().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_a_large_vocabulary_stays_under_half_a_gigabyte() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 300  # MiB; all logits once would be 1187


@pytest.mark.slow
@pytest.mark.parametrize("trains", [False, True])
def test_at_full_size_the_gradient_equals_the_plain_one(trains: bool) -> None:
    torch.manual_seed(0)
    n, width, columns = 512, 896, 151_936
    weight_VH = torch.randn(columns, width).mul_(width**-0.5).requires_grad_(trains)
    h_NH, labels_N = torch.randn(n, width, requires_grad=True), torch.randint(columns, (n,))
    wanted = [h_NH, weight_VH] if trains else [h_NH]
    mine = loss_of(*head_logp(h_NH, weight_VH, labels_N))
    got = torch.autograd.grad(mine, wanted)
    theirs = loss_of(plain(h_NH, weight_VH, labels_N, None, Post())[0], None)
    want = torch.autograd.grad(theirs, wanted)
    assert all(far(a, b) < 1e-5 for a, b in zip(got, want, strict=True))
