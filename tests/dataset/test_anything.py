"""Any row and any bytes end as a Sample or as a counted, named reject: through the whole of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swift.chat.source import load
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.core.errors import DataError, MachineError
from swift.dataset.clean import cleaned
from swift.dataset.encode import encode
from swift.dataset.formats import to_samples
from swift.dataset.report import Report
from swift.dataset.sources import find, rows
from swift.dataset.troubles import troubles
from swift.dataset.twins import distinct
from tests.kit import tiny_chat_model

Models = tuple[Template, Tokenizer]

GOOD = {"messages": [{"role": "user", "content": "è"}, {"role": "assistant", "content": "b"}]}
KEYS = st.sampled_from(
    "messages conversations role content from value tool_calls function arguments name loss weight "
    "text query response history system instruction input output images objects bbox ref tools "
    "rejected_response rejected_messages label type image_url reasoning_content".split()
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-9, 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "<image>", "\ufffd"])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner),
    max_leaves=14,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "x"]), "content": TREES},
        optional={"loss": TREES, "tool_calls": TREES, "reasoning_content": TREES},
    ),
    max_size=5,
)
ROWS = st.dictionaries(KEYS, TREES, max_size=5) | st.fixed_dictionaries(
    {"messages": TURNS}, optional={"tools": TREES, "images": TREES, "rejected_messages": TURNS}
)
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_chat_model(tmp_path_factory.mktemp("model"))
    return load(folder), Tokenizer.load(folder)


def through(path: Path, models: Models, pairs: bool) -> Report:
    """Take the rows of a file the whole way, and return what was said of them."""
    report = Report()
    found = to_samples(
        rows(find(str(path)), note=report.note),
        wants="pairs" if pairs else "answers",
        on_reject=report.note,
    )
    kept = cleaned(found, report, folder=str(path.parent))
    made = encode(
        kept,
        *models,
        pairs=pairs,
        supervise="answers",
        max_length=64,
        on_long="truncate",
        report=report,
    )
    distinct(made, report, near=0.8)
    assert len(made) == len(made.origins)
    return report


def accounted(report: Report, given: int) -> None:
    """Each row is a sample, or is counted as dropped under a name of the table."""
    assert set(report.counts) <= set(troubles.names())
    assert report.samples + report.rejected == given


@SETTINGS
@given(row=ROWS, pairs=st.booleans())
def test_any_row_is_a_sample_or_a_named_reject(
    models: Models, row: Mapping[str, Any], pairs: bool
) -> None:
    first = {**GOOD, "rejected_response": "c"} if pairs else GOOD
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        lines = [json.dumps(one, ensure_ascii=index == 1) for index, one in enumerate([first, row])]
        path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
        report = through(path, models, pairs)
    accounted(report, 2)


@SETTINGS
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_sample_or_a_named_reject(models: Models, data: bytes) -> None:
    good = json.dumps(GOOD, ensure_ascii=False).encode()
    lines = [line for line in data.split(b"\n") if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(good + b"\n" + data)
        report = through(path, models, pairs=False)
    accounted(report, 1 + len(lines))


@SETTINGS
@given(
    data=st.binary(min_size=1, max_size=300),
    name=st.sampled_from(
        "jsonl json csv tsv parquet arrow txt jsonl.gz jsonl.zst jsonl.xz".split()
    ),
)
def test_any_file_of_any_kind_ends_in_samples_or_in_words(
    models: Models, data: bytes, name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{name}"
        path.write_bytes(data)
        try:
            report = through(path, models, pairs=False)
        except (DataError, MachineError) as error:
            assert error.problems[0].what
        else:
            assert report.samples
