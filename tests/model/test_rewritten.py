"""Layouts that only code of their own opens, opened as native models: the same numbers.

Each layout is computed here a second time, from the published description of its arithmetic, on
tiny random weights under the published names; transformers must agree on the rewritten folder to
1e-5 of logits that spread over more than 1 (float32).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import layer_norm, normalize, silu

from swift.core.errors import PlanError
from swift.model.facts import read_facts
from swift.model.find import find_model
from swift.model.quirks import layouts, made_of

HIDDEN, INNER, LAYERS, HEADS, KV, SIZE, WORDS = 32, 48, 2, 4, 2, 8, 97
IDS = torch.arange(2 * 40).view(2, 40) * 7 % WORDS
Weights = Mapping[str, Tensor]

LLAMA_KEYS: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "vocab_size": WORDS,
    "hidden_act": "silu",
}
LLAMA_MLP = {
    "mlp.gate_proj.weight": (INNER, HIDDEN),
    "mlp.up_proj.weight": (INNER, HIDDEN),
    "mlp.down_proj.weight": (HIDDEN, INNER),
}
LLAMA_TOP = {
    "model.embed_tokens.weight": (WORDS, HIDDEN),
    "model.norm.weight": (HIDDEN,),
    "lm_head.weight": (WORDS, HIDDEN),
}
NORMS = {"input_layernorm.weight": (HIDDEN,), "post_attention_layernorm.weight": (HIDDEN,)}


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=draw) * 0.3 + (1.0 if "norm" in name else 0.0)
        for name, shape in shapes.items()
    }


def layers(at: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{at}.{i}.{name}": shape for i in range(LAYERS) for name, shape in shapes.items()}


def square(*names: str, bias: bool = False) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {f"{name}.weight": (HIDDEN, HIDDEN) for name in names}
    return found | ({f"{name}.bias": (HIDDEN,) for name in names} if bias else {})


QKVO = tuple(f"self_attn.{part}_proj" for part in "qkvo")


# --- arithmetic: one decoder; what differs is handed in -----------------------------------------


def rms(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def halves(x_BHTD: Tensor, theta: float = 10000.0) -> Tensor:
    """Turn (first half, second half) of each head."""
    angles_TD = _angles(x_BHTD, theta)
    a, b = x_BHTD.chunk(2, -1)
    cos, sin = angles_TD.cos(), angles_TD.sin()
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def pairs(x_BHTD: Tensor, theta: float = 10000.0, slower: float = 1.0) -> Tensor:
    """Turn neighbours of the first half of each head; the second half passes."""
    turned, passed = x_BHTD.chunk(2, -1)
    angles_TD = _angles(turned, theta, slower)
    cos, sin = angles_TD.cos(), angles_TD.sin()
    a, b = turned[..., 0::2], turned[..., 1::2]
    both = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    return torch.cat((both, passed), -1)


def _angles(x: Tensor, theta: float, slower: float = 1.0) -> Tensor:
    size = x.shape[-1]
    places_T = torch.arange(x.shape[-2]).float() / slower
    return torch.outer(places_T, theta ** -(torch.arange(0, size, 2).float() / size))


def heads(x_BTW: Tensor) -> Tensor:
    B, T, W = x_BTW.shape
    return x_BTW.view(B, T, W // SIZE, SIZE).transpose(1, 2)


def attended(q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor) -> Tensor:
    B, H, T, D = q_BHTD.shape
    k, v = (x.repeat_interleave(H // x.shape[1], 1) for x in (k_BGTD, v_BGTD))
    scores = (q_BHTD @ k.transpose(-1, -2)) / math.sqrt(D)
    scores = scores.masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)
    mixed: Tensor = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, H * D)
    return mixed


def linear(w: Weights, name: str) -> Callable[[Tensor], Tensor]:
    bias = w.get(f"{name}.bias", torch.zeros(()))
    return lambda x: x @ w[f"{name}.weight"].T + bias


def llama_like(
    w: Weights,
    *,
    qkv: Callable[[Weights, str, Tensor], tuple[Tensor, Tensor, Tensor]],
    norm: Callable[[Tensor, Weights, str], Tensor] | None = None,
    turned: Callable[[Tensor], Tensor] = halves,
    emb: float = 1.0,
    branch: float = 1.0,
) -> Tensor:
    """Return the states [batch, position, width] after the last norm."""
    normed = norm or (lambda x, w, name: rms(x, w[f"{name}.weight"]))
    x = w["model.embed_tokens.weight"][IDS] * emb
    for i in range(LAYERS):
        at = f"model.layers.{i}"
        q, k, v = map(heads, qkv(w, at, normed(x, w, f"{at}.input_layernorm")))
        mixed = attended(turned(q), turned(k), v)
        x = x + branch * linear(w, f"{at}.self_attn.o_proj")(mixed)
        h = normed(x, w, f"{at}.post_attention_layernorm")
        gate, up = (linear(w, f"{at}.mlp.{part}_proj")(h) for part in ("gate", "up"))
        x = x + branch * linear(w, f"{at}.mlp.down_proj")(silu(gate) * up)
    return normed(x, w, "model.norm")


def apart(w: Weights, at: str, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (linear(w, f"{at}.self_attn.{part}_proj")(h) for part in "qkv")
    return q, k, v


def packed(w: Weights, at: str, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = linear(w, f"{at}.self_attn.W_pack")(h).chunk(3, -1)
    return q, k, v


# --- layouts: (config.json, shapes of weights, what their code computes) ------------------------


def internlm() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {
        **LLAMA_KEYS,
        "model_type": "internlm",
        "architectures": ["InternLMForCausalLM"],
        "bias": True,
        "rotary": {"base": 5000, "type": "dynamic"},
    }
    shapes = LLAMA_TOP | layers("model.layers", NORMS | LLAMA_MLP | square(*QKVO, bias=True))
    shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] = (SIZE // 2,)

    def logits(w: Weights) -> Tensor:
        turned = lambda x: halves(x, 5000.0)  # noqa: E731
        return llama_like(w, qkv=apart, turned=turned) @ w["lm_head.weight"].T

    return config, shapes, logits


def internlm2() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {
        **LLAMA_KEYS,
        "model_type": "internlm2",
        "architectures": ["InternLM2ForCausalLM"],
        "num_key_value_heads": KV,
        "bias": False,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
    }
    each = HEADS // KV
    of_layer: dict[str, tuple[int, ...]] = {
        "attention_norm.weight": (HIDDEN,),
        "ffn_norm.weight": (HIDDEN,),
        "attention.wqkv.weight": ((HEADS + 2 * KV) * SIZE, HIDDEN),
        "attention.wo.weight": (HIDDEN, HIDDEN),
        "feed_forward.w1.weight": (INNER, HIDDEN),
        "feed_forward.w3.weight": (INNER, HIDDEN),
        "feed_forward.w2.weight": (HIDDEN, INNER),
    }
    shapes = {
        "model.tok_embeddings.weight": (WORDS, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "output.weight": (WORDS, HIDDEN),
    } | layers("model.layers", of_layer)

    def logits(w: Weights) -> Tensor:
        x = w["model.tok_embeddings.weight"][IDS]
        B, T = IDS.shape
        for i in range(LAYERS):
            at = f"model.layers.{i}"
            fused = rms(x, w[f"{at}.attention_norm.weight"]) @ w[f"{at}.attention.wqkv.weight"].T
            grouped = fused.view(B, T, KV, each + 2, SIZE)
            q = grouped[..., :each, :].reshape(B, T, HEADS * SIZE)
            k, v = (grouped[..., n, :].reshape(B, T, KV * SIZE) for n in (-2, -1))
            q, k, v = map(heads, (q, k, v))
            mixed = attended(halves(q, 1e6), halves(k, 1e6), v)
            x = x + mixed @ w[f"{at}.attention.wo.weight"].T
            h = rms(x, w[f"{at}.ffn_norm.weight"])
            w1, w2, w3 = (w[f"{at}.feed_forward.w{n}.weight"] for n in (1, 2, 3))
            x = x + (silu(h @ w1.T) * (h @ w3.T)) @ w2.T
        return rms(x, w["model.norm.weight"]) @ w["output.weight"].T

    return config, shapes, logits


def baichuan() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {
        **LLAMA_KEYS,
        "model_type": "baichuan",
        "architectures": ["BaiChuanForCausalLM"],
    }
    own = {"self_attn.W_pack.weight": (3 * HIDDEN, HIDDEN), **square("self_attn.o_proj")}
    shapes = LLAMA_TOP | layers("model.layers", NORMS | LLAMA_MLP | own)
    return config, shapes, lambda w: llama_like(w, qkv=packed) @ w["lm_head.weight"].T


def baichuan2() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config, shapes, _ = baichuan()

    def logits(w: Weights) -> Tensor:
        return llama_like(w, qkv=packed) @ normalize(w["lm_head.weight"]).T

    return config | {"architectures": ["BaichuanForCausalLM"]}, shapes, logits


def xverse() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {**LLAMA_KEYS, "model_type": "xverse", "architectures": ["XverseForCausalLM"]}
    shapes = LLAMA_TOP | layers("model.layers", NORMS | LLAMA_MLP | square(*QKVO))
    return config, shapes, lambda w: llama_like(w, qkv=apart) @ w["lm_head.weight"].T


def xverse_256k() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config, shapes, _ = xverse()

    def logits(w: Weights) -> Tensor:
        turned = lambda x: halves(x, 500000.0)  # noqa: E731
        return llama_like(w, qkv=apart, turned=turned) @ w["lm_head.weight"].T

    return config, shapes, logits


def skywork() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config, shapes, logits = xverse()
    named = {"model_type": "skywork", "architectures": ["SkyworkForCausalLM"]}
    return config | named, shapes, logits


def orion() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {**LLAMA_KEYS, "model_type": "orion", "architectures": ["OrionForCausalLM"]}
    biases = {name.replace("weight", "bias"): shape for name, shape in NORMS.items()}
    shapes = LLAMA_TOP | {"model.norm.bias": (HIDDEN,)}
    shapes |= layers("model.layers", NORMS | biases | LLAMA_MLP | square(*QKVO))

    def norm(x: Tensor, w: Weights, name: str) -> Tensor:
        return layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    return config, shapes, lambda w: llama_like(w, qkv=apart, norm=norm) @ w["lm_head.weight"].T


def minicpm() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {
        **LLAMA_KEYS,
        "model_type": "minicpm",
        "architectures": ["MiniCPMForCausalLM"],
        "scale_emb": 12,
        "scale_depth": 1.4,
        "dim_model_base": 24,
    }
    shapes = LLAMA_TOP | layers("model.layers", NORMS | LLAMA_MLP | square(*QKVO))
    del shapes["lm_head.weight"]  # it is the embedding unless config.json says otherwise

    def logits(w: Weights) -> Tensor:
        x = llama_like(w, qkv=apart, emb=12, branch=1.4 / math.sqrt(LAYERS))
        return x / (HIDDEN / 24) @ w["model.embed_tokens.weight"].T

    return config, shapes, logits


def minicpm4() -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config, shapes, _ = minicpm()
    factors = [1.0, 1.5, 2.5, 4.0]
    scaling = {"rope_type": "longrope", "short_factor": factors, "long_factor": [9.0] * 4}
    scaling["original_max_position_embeddings"] = config["max_position_embeddings"]

    def turned(x_BHTD: Tensor) -> Tensor:
        speeds = 10000.0 ** -(torch.arange(0, SIZE, 2).float() / SIZE) / torch.tensor(factors)
        angles_TD = torch.outer(torch.arange(x_BHTD.shape[-2]).float(), speeds)
        a, b = x_BHTD.chunk(2, -1)
        cos, sin = angles_TD.cos(), angles_TD.sin()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def logits(w: Weights) -> Tensor:
        branch = 1.4 / math.sqrt(LAYERS)
        x = llama_like(w, qkv=apart, emb=12, branch=branch, turned=turned)
        return x / (HIDDEN / 24) @ w["model.embed_tokens.weight"].T

    return config | {"rope_scaling": scaling}, shapes, logits


def chatglm(
    *, theta: float = 10000.0, slower: float = 1.0, ratio: float = 1
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Callable[[Weights], Tensor]]:
    config = {
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "num_layers": LAYERS,
        "padded_vocab_size": WORDS,
        "hidden_size": HIDDEN,
        "ffn_hidden_size": INNER,
        "kv_channels": SIZE,
        "num_attention_heads": HEADS,
        "multi_query_attention": True,
        "multi_query_group_num": KV,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "rmsnorm": True,
        "seq_length": 64,
        "layernorm_epsilon": 1e-5,
        "apply_query_key_layer_scaling": True,
        "rope_ratio": ratio,
    }
    wide = (HEADS + 2 * KV) * SIZE
    own: dict[str, tuple[int, ...]] = {
        "self_attention.query_key_value.weight": (wide, HIDDEN),
        "self_attention.query_key_value.bias": (wide,),
        "self_attention.dense.weight": (HIDDEN, HIDDEN),
        "mlp.dense_h_to_4h.weight": (2 * INNER, HIDDEN),
        "mlp.dense_4h_to_h.weight": (HIDDEN, INNER),
    }
    shapes = {
        "transformer.embedding.word_embeddings.weight": (WORDS, HIDDEN),
        "transformer.rotary_pos_emb.inv_freq": (SIZE // 4,),
        "transformer.encoder.final_layernorm.weight": (HIDDEN,),
        "transformer.output_layer.weight": (WORDS, HIDDEN),
    } | layers("transformer.encoder.layers", NORMS | own)

    def logits(w: Weights) -> Tensor:
        x = w["transformer.embedding.word_embeddings.weight"][IDS]
        for i in range(LAYERS):
            at = f"transformer.encoder.layers.{i}"
            h = rms(x, w[f"{at}.input_layernorm.weight"])
            fused = linear(w, f"{at}.self_attention.query_key_value")(h)
            q, k, v = fused[..., : HEADS * SIZE], *fused[..., HEADS * SIZE :].chunk(2, -1)
            q, k, v = map(heads, (q, k, v))
            mixed = attended(pairs(q, theta, slower), pairs(k, theta, slower), v)
            x = x + mixed @ w[f"{at}.self_attention.dense.weight"].T
            h = rms(x, w[f"{at}.post_attention_layernorm.weight"])
            gate, up = (h @ w[f"{at}.mlp.dense_h_to_4h.weight"].T).chunk(2, -1)
            x = x + (silu(gate) * up) @ w[f"{at}.mlp.dense_4h_to_h.weight"].T
        x = rms(x, w["transformer.encoder.final_layernorm.weight"])
        return x @ w["transformer.output_layer.weight"].T

    return config, shapes, logits


CASES: dict[str, Callable[[], Any]] = {
    "internlm": internlm,
    "internlm2": internlm2,
    "baichuan": baichuan,
    "baichuan2": baichuan2,
    "xverse": xverse,
    "xverse-256k": xverse_256k,
    "skywork": skywork,
    "orion": orion,
    "minicpm": minicpm,
    "minicpm4": minicpm4,
    "chatglm2": chatglm,
    "chatglm2-32k": lambda: chatglm(slower=4, ratio=4),
    "chatglm3-32k": lambda: chatglm(theta=40000.0, ratio=4),
}
CODE = {
    "baichuan2": ("modeling_baichuan.py", "class NormHead(nn.Module): ..."),
    "xverse-256k": (
        "modeling_xverse.py",
        "class XverseRotaryEmbedding(torch.nn.Module):\n"
        "    def __init__(self, dim, max_position_embeddings=2048, base=500000, device=None): ...",
    ),
    "chatglm2-32k": ("modeling_chatglm.py", "seq_idx = arange(seq_len) / self.rope_ratio"),
    "chatglm3-32k": ("modeling_chatglm.py", "base = base * self.rope_ratio"),
}
"""Code that is read, as text, to tell relatives apart."""


def published(folder: Path, name: str) -> tuple[Path, Callable[[Weights], Tensor]]:
    """Write a tiny folder in the layout and return it with what its code computes."""
    config, shapes, logits = CASES[name]()
    auto = {"AutoModelForCausalLM": f"modeling_{config['model_type']}.{config['architectures'][0]}"}
    folder.mkdir(parents=True)
    save_file(drawn(shapes), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto}))
    if name in CODE:
        (folder / CODE[name][0]).write_text(CODE[name][1])
    plain_tokenizer(folder)
    return folder, logits


def plain_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, WORDS)}}
    Tokenizer(WordLevel(words, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def native(folder: Path) -> Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        found: Tensor = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    return found


@pytest.mark.parametrize("name", CASES)
def test_transformers_computes_what_the_published_code_does(name: str, tmp_path: Path) -> None:
    folder, logits = published(tmp_path / name, name)
    theirs = logits(load_file(folder / "model.safetensors"))
    assert float(theirs.std()) > 1  # they differ from word to word: an equal zero shows nothing
    made = find_model(str(folder), tmp_path / "cache")
    assert float((native(made) - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    assert made_of(made)["folder"] == str(folder)
    assert read_facts("m", made).layers == LAYERS


def test_every_layout_is_tried() -> None:
    tried = {CASES[name]()[0]["model_type"] for name in CASES} | {"qwen"}
    assert tried == set(layouts.names())


@pytest.mark.parametrize(
    ("name", "change", "remove"),
    [
        ("baichuan", {"model_max_length": 4096}, "max_position_embeddings"),
        ("chatglm2", {"inner_hidden_size": 16384}, "ffn_hidden_size"),
        ("chatglm2", {"vision_config": {"layers": 63}}, ""),
        ("internlm2", {"architectures": ["InternLM2ForRewardModel"]}, ""),
        ("minicpm", {"num_experts": 8}, ""),
        ("xverse", {"num_experts": 8}, ""),
    ],
)
def test_relatives_that_compute_something_else_are_left_to_their_own_code(
    name: str, change: dict[str, Any], remove: str, tmp_path: Path
) -> None:
    folder, _ = published(tmp_path / name, name)
    config = json.loads((folder / "config.json").read_text()) | change
    config.pop(remove, None)
    (folder / "config.json").write_text(json.dumps(config))
    assert find_model(str(folder), tmp_path / "cache") == folder
    with pytest.raises(PlanError, match="code of its own"):
        read_facts("./mine", folder)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("internlm2", {"rope_scaling": {"type": "yarn"}}, "`rope_scaling: {'type': 'yarn'}`"),
        (
            "minicpm4",
            {"max_position_embeddings": 128},
            "`rope_scaling: {'rope_type': 'longrope', 'short",
        ),
        ("internlm2", {"num_key_value_heads": 3}, "4 heads are no multiple of 3"),
        ("internlm", {"rotary": {"type": "odd"}}, "`rotary: odd` is not known here"),
        ("baichuan", {"hidden_act": "gelu"}, "`hidden_act: gelu` is not silu"),
        ("baichuan", {"hidden_size": "32"}, "`hidden_size` is `32`, not a number above 0"),
        ("chatglm2", {"quantization_bit": 4}, "its weights are quantised"),
        ("chatglm2", {"multi_query_attention": False}, "`multi_query_attention: false` has no"),
        ("orion", {"attention_bias": True}, "`attention_bias: true` has no place"),
        ("skywork", {"num_hidden_layers": 3}, "9 is lacking: the first is `model.layers.2.self"),
        ("xverse", {"num_hidden_layers": 1}, "9 is unknown: the first is `model.layers.1"),
        ("minicpm", {"intermediate_size": 64}, "6 has another shape"),
    ],
)
def test_what_cannot_be_rewritten_is_said_and_nothing_is_written(
    name: str, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder, _ = published(tmp_path / name, name)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlanError, match=says):
        find_model(str(folder), tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").glob("models/*") if p.is_dir()]


def test_what_cannot_be_rewritten_is_left_to_its_own_code_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    folder, _ = published(tmp_path / "o", "orion")
    config = json.loads((folder / "config.json").read_text()) | {"attention_bias": True}
    (folder / "config.json").write_text(json.dumps(config))
    assert find_model(str(folder), tmp_path / "cache", trust=True) == folder
    with pytest.raises(PlanError, match="--trust_remote_code"):
        find_model(str(folder), tmp_path / "cache")


def test_a_head_that_was_divided_once_keeps_its_type_and_says_what_that_means(
    tmp_path: Path,
) -> None:
    folder, _ = published(tmp_path / "b", "baichuan2")
    half = {n: w.bfloat16() for n, w in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    made = find_model(str(folder), tmp_path / "cache")
    head = load_file(made / "model.safetensors")["lm_head.weight"]
    assert head.dtype == torch.bfloat16
    assert float((head.float().norm(dim=1) - 1).abs().max()) < 0.01
    (note,) = made_of(made)["notes"]
    assert "a head that is trained itself is trained as a plain one" in note
