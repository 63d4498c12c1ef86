"""Qwen's first models (Qwen-7B, Qwen-14B, ...), rewritten once as Qwen2 models without their code.

The arithmetic is the same: RMS norms, rotary positions on whole heads, a bias on q, k and v alone,
and `c_proj(w1(x) * silu(w2(x)))`: v1's w2 is the gate. Two of its switches act only on texts longer
than `seq_length`, `use_dynamic_ntk` (wider rotary frequencies) and `use_logn_attn` (scaled
queries); the rewritten model names `seq_length` as its longest text, so they have no place in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swift.core.errors import MachineError, PlanError, Problem
from swift.core.files import cannot_write, free_bytes, whole_folder
from swift.model.quirks._qwen_v1_weights import as_qwen2
from swift.model.quirks._stored import FLOATS, Stored, shards, write
from swift.model.quirks._tiktoken import Ranks, fast_tokenizer, read_ranks

_VERSION = 1
"""Raised when the same folder would be written otherwise than before."""

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "kv_channels": 128,
    "seq_length": 8192,
    "layer_norm_epsilon": 1e-6,
    "rotary_emb_base": 10000.0,
    "rotary_pct": 1.0,
    "initializer_range": 0.02,
    "attn_dropout_prob": 0.0,
    "no_bias": True,
    "tie_word_embeddings": False,
}
"""What the published configuration class says where config.json is silent."""

_MORE = ("visual", "audio")
"""Keys of Qwen-VL and Qwen-Audio, which call themselves by the same family."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_END, _TURN_END = "<|endoftext|>", "<|im_end|>"
_SPECIAL = (_END, "<|im_start|>", _TURN_END, *(f"<|extra_{i}|>" for i in range(205)))


def converted(folder: Path, cache: Path) -> Path:
    """Return the Qwen2 folder made of the v1 model in `folder`, made now if it is not there yet.

    It is found again by the path, sizes and times of the model's files. Of several processes that
    want it, one writes and the others wait; one that is killed leaves nothing that is taken for it.

    Raises:
        PlanError: The model cannot be converted: quantised, with eyes or ears, or broken.
        MachineError: The cache cannot be written, or is too small.
    """
    folder = folder.resolve()
    target = cache / "models" / f"{folder.name}-{_digest(folder)}"
    if target.is_dir():
        return target.resolve()
    with _alone(target.with_name(f".{target.name}.lock")):
        if not target.is_dir():
            _convert(folder, target)
    return target.resolve()


def _digest(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    seen = [(p.name, (stat := p.stat()).st_size, stat.st_mtime_ns) for p in files]
    said = json.dumps([_VERSION, str(folder), seen])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock file; whoever dies lets go of it."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise cannot_write(lock.parent, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(folder: Path, target: Path) -> None:
    config = _config(folder)
    weights = as_qwen2(shards(folder), config, folder)
    _enough_room(target, sum(w.data.nbytes for shard in weights for w in shard))
    ranks = read_ranks(folder / "qwen.tiktoken")
    special = _special(ranks, config["vocab_size"], folder)
    said = _read(folder / "generation_config.json")
    end = _TURN_END if said.get("chat_format") == "chatml" else _END
    with whole_folder(target) as aside:
        _write_weights(aside, weights)
        dtype = FLOATS[weights[0][0].dtype]
        _dump(aside / "config.json", _as_qwen2_config(config, dtype, special, end))
        _dump(aside / "generation_config.json", _generation(said, special, end))
        _dump(aside / "tokenizer.json", fast_tokenizer(ranks, special, _WORDS))
        _dump(aside / "tokenizer_config.json", _tokenizer_config(config, end))
        shutil.copyfile(Path(__file__).with_suffix(".jinja"), aside / "chat_template.jinja")
        for name in ("LICENSE", "NOTICE"):  # they go with the weights, wherever those go
            if (folder / name).is_file():
                shutil.copyfile(folder / name, aside / name)


def _config(folder: Path) -> dict[str, Any]:
    """Return config.json with the defaults filled in.

    Raises:
        PlanError: It says something that a Qwen2 model cannot do.
    """
    config = _DEFAULTS | _read(folder / "config.json")
    what = [
        f"`{key}` is `{config[key]}`, not a number above 0"
        for key, usual in _DEFAULTS.items()
        if not isinstance(usual, bool) and not _sound(config[key], usual)
    ]
    what += [f"`{key}` makes it a model of more than text" for key in _MORE if key in config]
    if "quantization_config" in config:
        what.append("its weights are quantised")
    if not what:
        what = [text for wrong, text in _impossible(config) if wrong]
    if what:
        where = str(folder / "config.json")
        fix = "give a Qwen-7B or Qwen-14B with its plain weights"
        raise PlanError([Problem(where=where, what=text, fix=fix) for text in what])
    return config


def _sound(said: Any, usual: float) -> bool:
    """Return whether a number of the configuration is one of the usual kind."""
    kinds = (int, float) if isinstance(usual, float) else (int,)
    return type(said) in kinds and (said > 0 or said == usual)


def _impossible(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    width = config["kv_channels"] * config["num_attention_heads"]
    yield (
        width != config["hidden_size"],
        f"`kv_channels` times the heads is {width}, but `hidden_size` {config['hidden_size']}",
    )
    yield not config["no_bias"], "`no_bias: false` has no place in a Qwen2 model"
    yield config["rotary_pct"] != 1.0, f"`rotary_pct: {config['rotary_pct']}` is not 1.0"
    yield config["intermediate_size"] % 2 == 1, "`intermediate_size` is odd; v1 counts both halves"


def _read(path: Path) -> dict[str, Any]:
    """Return a file's object; an empty one where there is no file."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise PlanError(Problem(where=str(path), what=f"not JSON: {error}")) from error
    if not isinstance(said, dict):
        raise PlanError(Problem(where=str(path), what="not a JSON object"))
    return said


def _enough_room(target: Path, size: int) -> None:
    free = free_bytes(target)
    if free < size:
        what = (
            f"{target.parent} has {free / 1e9:.1f} GB free, and the model converted takes "
            f"{size / 1e9:.1f} GB"
        )
        fix = "free some space, or set SWIFT_CACHE to a folder on another disk"
        raise MachineError(Problem(where="model", what=what, fix=fix))


def _write_weights(folder: Path, weights: list[list[Stored]]) -> None:
    if len(weights) == 1:
        write(folder / "model.safetensors", weights[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(weights, 1):
        name = f"model-{number:05}-of-{len(weights):05}.safetensors"
        write(folder / name, shard)
        places |= {weight.name: name for weight in shard}
    size = sum(weight.data.nbytes for shard in weights for weight in shard)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    _dump(folder / "model.safetensors.index.json", index)


def _special(ranks: Ranks, rows: int, folder: Path) -> dict[str, int]:
    """Return the ids of the special tokens: they follow the ranks."""
    first = max(ranks.values()) + 1
    if first + len(_SPECIAL) > rows:
        what = (
            f"qwen.tiktoken and the special tokens take {first + len(_SPECIAL)} ids, but "
            f"`vocab_size` is {rows}"
        )
        raise PlanError(Problem(where=str(folder), what=what, fix="fetch the folder again"))
    return {text: first + i for i, text in enumerate(_SPECIAL)}


def _as_qwen2_config(
    config: Mapping[str, Any], dtype: str, special: Mapping[str, int], end: str
) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"] // 2,
        "num_hidden_layers": config["num_hidden_layers"],
        "num_attention_heads": config["num_attention_heads"],
        "num_key_value_heads": config["num_attention_heads"],
        "hidden_act": "silu",
        "max_position_embeddings": config["seq_length"],
        "rope_theta": float(config["rotary_emb_base"]),
        "rms_norm_eps": config["layer_norm_epsilon"],
        "initializer_range": config["initializer_range"],
        "attention_dropout": config["attn_dropout_prob"],
        "use_sliding_window": False,
        "tie_word_embeddings": config["tie_word_embeddings"],
        "eos_token_id": special[end],
        "pad_token_id": special[_END],
        "torch_dtype": dtype,
    }


def _generation(said: Mapping[str, Any], special: Mapping[str, int], end: str) -> dict[str, Any]:
    """Return v1's sampling, and both tokens that end an answer, the model's own first."""
    kept = ("do_sample", "max_new_tokens", "repetition_penalty", "temperature", "top_k", "top_p")
    both = (end, _END if end == _TURN_END else _TURN_END)
    return {
        **{name: said[name] for name in kept if name in said},
        "eos_token_id": [special[text] for text in both],
        "pad_token_id": special[_END],
    }


def _tokenizer_config(config: Mapping[str, Any], end: str) -> dict[str, Any]:
    return {
        # Not Qwen2's class: transformers would put that one's own pre-tokenizer into the file's
        # place.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": _END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["seq_length"],
    }


def _dump(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
