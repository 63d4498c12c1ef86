"""Broken and hostile model folders: refused in words with the file's name, and nothing is kept."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.api import prepare_model
from swift.core.errors import PlanError
from swift.model.abilities import served
from swift.model.facts import header, read_facts
from swift.model.find import find_model
from swift.model.skeleton import skeleton
from tests.kit import tiny_model, tiny_qwen_v1

Entry = dict[str, Any]
ONE: Entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
TWO: Entry = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}


def stored(path: Path, said: object, *, size: int = 32, raw: bytes = b"") -> Path:
    text = raw or json.dumps(said).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    return path


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def test_a_whole_header_is_read_in_any_order_and_with_empty_tensors(tmp_path: Path) -> None:
    none = {"dtype": "F4", "shape": [0, 7], "data_offsets": [24, 24]}
    said = {"b": TWO, "none": none, "a": ONE, "__metadata__": {"format": "pt"}}
    assert header(stored(tmp_path / "a.safetensors", said)) == {"b": TWO, "none": none, "a": ONE}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([], "its header is no map"),
        (None, "its header is no map"),
        ("x", "its header is no map"),
        ({"a": None}, "`a`: its entry is no map"),
        ({"a": {"dtype": "F32", "shape": [8]}}, "data_offsets are None"),
        ({"a": {**ONE, "dtype": None}}, "dtype is None"),
        ({"a": {**ONE, "dtype": []}}, r"dtype is \[\]"),
        ({"a": {**ONE, "dtype": "Q7"}}, "dtype is 'Q7'"),
        ({"a": {**ONE, "shape": [-2, -3]}}, "no list of sizes"),
        ({"a": {**ONE, "shape": [True, 6]}}, "no list of sizes"),
        ({"a": {**ONE, "shape": None}}, "no list of sizes"),
        ({"a": {**ONE, "shape": "zz"}}, "no list of sizes"),
        ({"a": {**ONE, "shape": [10**30, 10**30]}}, "no list of sizes"),
        ({"a": {**ONE, "shape": [2] * 65}}, "no list of sizes"),
        ({"a": {**ONE, "shape": [2, 4]}}, "it has 24 bytes"),
        ({"a": {**ONE, "data_offsets": "ab"}}, "no beginning and end"),
        ({"a": {**ONE, "data_offsets": [0]}}, "no beginning and end"),
        ({"a": {**ONE, "data_offsets": [0, 24.5]}}, "no beginning and end"),
        ({"a": {**ONE, "data_offsets": [-24, 0]}}, "no beginning and end"),
        ({"a": {**ONE, "data_offsets": [24, 0]}}, "no beginning and end"),
        ({"a": ONE}, "its last 8 bytes belong to no tensor"),
        ({"b": TWO}, "`b` leaves bytes out before it"),
        ({"a": ONE, "b": {**TWO, "data_offsets": [16, 24]}}, "`b` lies over another tensor"),
        ({"a": ONE, "b": {**TWO, "shape": [8], "data_offsets": [24, 40]}}, "cut short"),
    ],
)
def test_a_header_that_describes_no_file_of_tensors_is_refused(
    said: object, says: str, tmp_path: Path
) -> None:
    path = stored(tmp_path / "a.safetensors", said)
    with pytest.raises(PlanError, match=says) as caught:
        header(path)
    assert caught.value.problems[0].where == str(path)


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe", b"{", b"[1e999"])
def test_a_header_that_is_no_json_is_refused(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no readable safetensors file"):
        header(stored(tmp_path / "a.safetensors", None, raw=raw))


def test_of_many_broken_entries_three_are_named(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.safetensors", {f"w{i}": None for i in range(9)})
    with pytest.raises(PlanError) as caught:
        header(path)
    assert [p.what for p in caught.value.problems][3] == "6 further entries are broken too"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("whole") / "model")


def like(whole: Path, folder: Path) -> Path:
    """Return a folder of links to the files of another."""
    folder.mkdir()
    for path in whole.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": null}}',
        '{"weight_map": {"a": ".."}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "config.json"}}',
        '{"weight_map": {"a": "../model.safetensors"}}',
        '{"weight_map": {"a": "b\\u0000.safetensors"}}',
    ],
)
def test_a_broken_index_is_refused_with_its_name(text: str, whole: Path, tmp_path: Path) -> None:
    folder = like(whole, tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(PlanError) as caught:
        read_facts("mine", folder)
    assert caught.value.problems[0].where.endswith("model.safetensors.index.json")


def test_files_without_a_number_are_no_model(whole: Path, tmp_path: Path) -> None:
    folder = like(whole, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    stored(folder / "model.safetensors", {}, size=0)
    with pytest.raises(PlanError, match="hold no numbers"):
        read_facts("mine", folder)


def _short(said: dict[str, Any], name: str, other: str) -> None:
    said[name]["data_offsets"] = [0, 4]


def _reversed(said: dict[str, Any], name: str, other: str) -> None:
    said[name]["data_offsets"] = [400, 4]


def _negative(said: dict[str, Any], name: str, other: str) -> None:
    said[name]["data_offsets"] = [-100, -4]


def _over(said: dict[str, Any], name: str, other: str) -> None:
    said[name]["data_offsets"] = said[other]["data_offsets"]


def _narrow(said: dict[str, Any], name: str, other: str) -> None:
    said[name]["dtype"] = "BF16"


@pytest.mark.parametrize("broken", [_short, _reversed, _negative, _over, _narrow])
def test_weights_whose_bytes_do_not_fit_are_not_rewritten(
    broken: Callable[[dict[str, Any], str, str], None],
    tmp_path: Path,
) -> None:
    folder = tiny_qwen_v1(tmp_path / "model")
    said, body = split(folder / "model.safetensors")
    name, other = [n for n in said if n.endswith(".weight")][:2]
    broken(said, name, other)
    text = json.dumps(said).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    with pytest.raises(PlanError) as caught:
        find_model(str(folder), tmp_path / "cache")
    assert caught.value.problems[0].where == str(folder / "model.safetensors")
    assert not list(tmp_path.glob("cache/models/[!.]*"))


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/hosts", ".."])
def test_an_index_of_pickles_names_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    folder = tiny_qwen_v1(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, tmp_path / "secret.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(PlanError, match="which is no file beside it"):
        find_model(str(folder), tmp_path / "cache")


@pytest.mark.parametrize("held", [[torch.zeros(2)], {"a": 5}, {"a": torch.zeros(1).expand(10**12)}])
def test_a_pickle_of_something_else_is_refused(held: object, tmp_path: Path) -> None:
    folder = tiny_qwen_v1(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin")
    with pytest.raises(PlanError, match="no map of whole tensors"):
        find_model(str(folder), tmp_path / "cache")


def edited(whole: Path, folder: Path, **keys: object) -> Path:
    """Return a folder like `whole` whose config.json says something else."""
    said = json.loads((whole / "config.json").read_text()) | keys
    path = like(whole, folder) / "config.json"
    path.unlink()
    path.write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("architectures", [5]),
        ("architectures", {"a": 1}),
        ("architectures", "Qwen2ForCausalLM"),
        ("model_type", 5),
        ("model_type", ["qwen2"]),
        ("text_config", 5),
        ("text_config", [1]),
        ("hidden_size", "x"),
        ("hidden_size", 0),
        ("hidden_size", -4),
        ("hidden_size", 1.5),
        ("hidden_size", True),
        ("hidden_size", math.nan),
        ("hidden_size", math.inf),
        ("hidden_size", 10**12),
        ("vocab_size", 10**15),
        ("vocab_size", 10**400),
        ("num_attention_heads", 0),
        ("num_key_value_heads", [2, 2]),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 1e300),
        ("max_position_embeddings", "x"),
        ("max_position_embeddings", -5),
    ],
)
def test_a_key_that_is_none_is_refused_by_its_name(
    key: str, said: object, whole: Path, tmp_path: Path
) -> None:
    folder = edited(whole, tmp_path / "model", **{key: said})
    with pytest.raises(PlanError) as caught:
        read_facts("mine", folder)
    (problem,) = caught.value.problems
    assert problem.where == str(folder / "config.json")
    assert f"`{key}`" in problem.what


def test_all_odd_keys_are_named_at_once(whole: Path, tmp_path: Path) -> None:
    folder = edited(whole, tmp_path / "model", model_type=5, hidden_size="x", vocab_size=-1)
    with pytest.raises(PlanError) as caught:
        read_facts("mine", folder)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("key", ["n_layer", "decoder_layers", "depth"])
def test_layers_are_counted_under_any_familys_name(key: str, whole: Path, tmp_path: Path) -> None:
    folder = edited(whole, tmp_path / "model", inner_config={key: 10**9})
    with pytest.raises(PlanError, match=f"`{key}` is 1000000000, but its files hold"):
        read_facts("mine", folder)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("rope_parameters", 5),
        ("quantization_config", []),
        ("dtype", "os.system"),
        ("eos_token_id", {"a": 1}),
        ("intermediate_size", -4),
        ("hidden_act", "no_such"),
    ],
)
def test_what_transformers_raises_names_the_file(
    key: str, said: object, whole: Path, tmp_path: Path
) -> None:
    folder = edited(whole, tmp_path / "model", **{key: said})
    facts = read_facts("mine", folder)
    with pytest.raises(PlanError) as caught:
        skeleton(facts, "sdpa")
    assert caught.value.problems[0].where == str(folder / "config.json")


@pytest.mark.parametrize(("key", "said"), [("rope_parameters", 5), ("eos_token_id", {"a": 1})])
def test_so_does_the_library(key: str, said: object, whole: Path, tmp_path: Path) -> None:
    folder = edited(whole, tmp_path / "model", **{key: said})
    with pytest.raises(PlanError, match=f"builds no model of it.*{key}"):
        prepare_model(folder)


@pytest.mark.parametrize(
    ("key", "said", "says"),
    [
        ("layer_norm_epsilon", 10**13, "expected float, got int"),
        ("num_hidden_layers", 10**9, "its files hold"),
    ],
)
def test_a_layout_with_odd_numbers_is_not_rewritten(
    key: str, said: object, says: str, tmp_path: Path
) -> None:
    folder = tiny_qwen_v1(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {key: said}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlanError, match=says) as caught:
        find_model(str(folder), tmp_path / "cache")
    assert caught.value.problems[0].where == str(folder / "config.json")


@pytest.mark.parametrize("keys", [{"architectures": {"a": 1}}, {"layer_types": 5}])
def test_odd_keys_are_no_reason_to_fail_where_a_model_is_only_shown(keys: dict[str, Any]) -> None:
    assert not served({"model_type": "qwen2", **keys})
