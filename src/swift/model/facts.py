"""What is true of a model, read from its folder: config.json and the headers of its weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from swift.core.errors import PlanError, Problem
from swift.core.schema import Value
from swift.model._config import odd_keys, too_large
from swift.model._header import entries, indexed
from swift.model.allowed import Code, read_code
from swift.model.code import refusal

_DTYPES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class ModelFacts(Value):
    """Facts of a causal language model, without loading a weight."""

    id: str
    """As the user named it."""

    folder: str
    """The local folder that holds it."""

    architecture: str
    """The transformers class: Qwen3ForCausalLM."""

    model_type: str
    """transformers' word for the family: qwen3."""

    parameters: int
    """Number of stored weights (tied ones once)."""

    dtype: str
    """The type most weights are stored in: float32, bfloat16, float16, float64."""

    layers: int
    """Repeated blocks."""

    hidden: int
    """Width of the residual stream."""

    vocabulary: int
    """Rows of the output head."""

    heads: int
    """Attention heads."""

    kv_heads: int
    """Key/value heads: what tensor parallelism splits attention by."""

    context: int
    """Longest sequence the model was made for, in tokens; 0 when its configuration is silent."""

    given: str = ""
    """Fingerprint of a live model's weights; "" where they are the folder's."""

    speech: str = ""
    """Folder of tokenizer and chat template; "" where it is `folder`."""

    code: Code | None = None
    """The folder's own code that computes it, allowed by the user; None where none is run."""

    @property
    def voice(self) -> Path:
        """The folder of tokenizer and chat template."""
        return Path(self.speech or self.folder)


def read_facts(id: str, folder: Path, *, trust: bool = False) -> ModelFacts:
    """Return the facts of the model in `folder`.

    Args:
        id: As the user named it.
        folder: Where it is.
        trust: Whether code in the folder may run, where nothing else computes the model. Here
            nothing is run.

    Raises:
        PlanError: config.json or the weights are missing or broken, or only code in the folder can
            compute the model, which is not allowed or not all there.
    """
    config = read_config(folder)
    refused = refusal(id, config)
    if refused is not None and not trust:
        raise PlanError(refused)
    path = str(folder / "config.json")
    if odd := odd_keys(config, path):
        raise PlanError(odd)
    text = config.get("text_config") or config
    parameters, dtype, tensors = _stored(folder)
    if large := too_large(config, path, tensors, parameters):
        raise PlanError(large)
    heads = text.get("num_attention_heads") or 1
    return ModelFacts(
        id=id,
        folder=str(folder),
        architecture=(config.get("architectures") or ["?"])[0],
        model_type=config.get("model_type") or "?",
        parameters=parameters,
        dtype=dtype,
        layers=text.get("num_hidden_layers") or 0,
        hidden=text.get("hidden_size") or 0,
        vocabulary=text.get("vocab_size") or 0,
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        context=text.get("max_position_embeddings") or 0,
        code=read_code(id, folder, config) if refused is not None else None,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's config.json.

    Raises:
        PlanError: It is missing, or no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(
            Problem(
                where="model",
                what=f"{folder} has no config.json",
                fix="give a folder in transformers' layout (config.json, *.safetensors)",
            )
        ) from None
    except (ValueError, RecursionError) as error:
        raise PlanError(Problem(where=str(path), what=f"not JSON: {error}")) from error
    if not isinstance(config, dict):
        raise PlanError(Problem(where=str(path), what="not a JSON object"))
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder, each once, in order of name.

    Raises:
        PlanError: Their index is broken, or names what is no file beside it.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return indexed(index, ".safetensors")
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter_"))


def header(path: Path) -> dict[str, dict[str, Any]]:
    """Return a safetensors file's header: name -> {dtype, shape, data_offsets}, all checked.

    Raises:
        PlanError: The file is cut short, is no safetensors file, or its tensors' bytes do not fit
            their shapes, lie over one another or leave some of the file out.
    """
    return entries(path)


def _stored(folder: Path) -> tuple[int, str, int]:
    """Return (numbers in the files, the type of most, tensors)."""
    files = weight_files(folder)
    if not files:
        raise PlanError(
            Problem(
                where="model",
                what=f"{folder} holds no *.safetensors",
                fix="convert its weights: model.save_pretrained(folder)",
            )
        )
    found = [entry for file in files for entry in header(file).values()]
    sizes: Counter[str] = Counter()
    for entry in found:
        sizes[entry["dtype"]] += math.prod(entry["shape"])
    if not sizes.total():
        what = "its weight files hold no numbers"
        raise PlanError(Problem(where=str(folder), what=what, fix="fetch it again"))
    return sizes.total(), _DTYPES.get(sizes.most_common(1)[0][0], "float32"), len(found)
