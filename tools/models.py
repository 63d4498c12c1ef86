"""Write docs/models.md: what the installed transformers builds, and which roles are found there.

    python tools/models.py > docs/models.md

It builds each native multimodal model's own default configuration on the meta device.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForMultimodalLM
from transformers.models.auto import configuration_auto, modeling_auto

sys.path.insert(0, str(Path(__file__).parent.parent))

from swift.model.abilities import abilities
from swift.model.names import rows
from swift.model.roles import Roles, find_roles
from swift.model.structures import structures
from tests.model.test_families import (
    FAILS,
    LISTED,
    PART_OF_A_LARGER_ONE,
    WHOLE_WAY,
    WITHOUT_CACHE,
)
from tests.model.test_roles import MADE_WHOLE


def main() -> None:
    """Write the page to standard output."""
    transformers.logging.set_verbosity_error()
    lines = [*_catalogue(), *_text(), *_multimodal()]
    sys.stdout.write("\n".join(lines) + "\n")


def _catalogue() -> list[str]:
    text = sum(row.modality == ("text",) for row in rows())
    by: dict[str, int] = {}
    for row in rows():
        status = structures()[row.structure].status
        by[status] = by.get(status, 0) + 1
    said = ", ".join(f"{count} {status}" for status, count in sorted(by.items()))
    return [
        "# Models",
        "",
        f"Made by `python tools/models.py` with transformers {transformers.__version__}.",
        "",
        f"{len(rows())} models have a name (`swift list models`): {text} read text alone, "
        f"{len(rows()) - text} more than that. By who computes them: {said}.",
        "",
        "*native*: transformers; *mapped*: we rewrite it as a native one; *converted*: another",
        "repository of the same model is native; *near*: a native one resembles it; *remote*: only",
        "code of its own, which runs only where `trust_remote_code` allows it. Any other model",
        "works through its config.json.",
        "",
        "If two models could have one name: an id comes before an id without its organisation,",
        "which comes before a further name; of equals the one on Hugging Face.",
        "",
        *_mapped(),
    ]


def _mapped() -> list[str]:
    """Return the table of structures that are rewritten as native ones (model/quirks/)."""
    found = [row for row in structures().values() if row.status == "mapped"]
    lines = [f"| `{row.structure}` | {row.native[0]} | {row.note} |" for row in found]
    return [
        "## Rewritten as a native architecture",
        "",
        "Once, into the cache, tensor by tensor, with the tokenizer; nothing of the folder's own",
        "code is run. `tests/model/test_rewritten.py` compares logits with the published",
        "arithmetic.",
        "",
        "| structure | as | |",
        "|---|---|---|",
        *lines,
        "",
    ]


def _text() -> list[str]:
    head = f"## Text architectures: {len(WHOLE_WAY)} of {len(LISTED)} go the whole way"
    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    known = [(name, abilities(name, names[name])) for name in WHOLE_WAY]
    unserved = [name for name, can in known if can and can.unpaged]
    lines = [
        head,
        "",
        "Tiny and random: two LoRA steps, save, merge, reload, greedy answers",
        f"(`tests/model/test_families.py`); {', '.join(WITHOUT_CACHE)} without a cache.",
        "",
        "`all-linear` leaves out, and says so, what an adapter would not reach or would break:",
        "matrices whose weight the model's own code reads past the layer (`out_proj` of state",
        "spaces), layers that answer with more than a product (routers), matrices that several",
        "layers have in common (Zamba).",
        "",
        ", ".join(f"`{name}`" for name in WHOLE_WAY),
        "",
        "They are trained, saved and merged; after `swift merge` transformers' generate answers",
        f"with all. Of {len(unserved)} the class has no attention that the engine can page:",
        "they are **not served**. `swift chat`, `infer`, `eval`, `serve` refuse them; `swift show`",
        "and `swift sft --dry-run` say so before. Of others single layers may stand in the way",
        "(linear ones, say): those commands tell that of a folder, by its config.json.",
        "",
        ", ".join(f"`{name}`" for name in unserved),
        "",
        "| not | why |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {why} |" for name, why in sorted(FAILS.items())]
    lines += [f"| `{name}` | not of text alone |" for name in PART_OF_A_LARGER_ONE]
    return [*lines, ""]


def _multimodal() -> list[str]:
    found: dict[str, Roles] = {}
    failed: dict[str, str] = {}
    for name in sorted(modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES):
        try:
            config = configuration_auto.CONFIG_MAPPING[name](**MADE_WHOLE.get(name, {}))
            with torch.device("meta"):
                model = AutoModelForMultimodalLM.from_config(config)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            continue
        found[name] = find_roles(model)
    lines = [
        f"## Multimodal architectures: roles in {len(found)} of {len(found) + len(failed)}",
        "",
        f"Of its own default configuration each; of {', '.join(MADE_WHOLE)} with what that lacks.",
        "",
        "| model_type | vision | audio | aligner | language | head |",
        "|---|---|---|---|---|---|",
    ]
    for name, roles in found.items():
        parts = (roles.vision, roles.audio, roles.aligner, roles.language, roles.head)
        lines.append(f"| `{name}` | " + " | ".join(map(_short, parts)) + " |")
    lines += ["", "transformers cannot build the others from their own default configuration:", ""]
    lines += ["| model_type | exception |", "|---|---|"]
    return [*lines, *(f"| `{name}` | {why.replace('|', '/')} |" for name, why in failed.items())]


def _short(paths: tuple[str, ...]) -> str:
    shown = [f"`{path}`" for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


if __name__ == "__main__":
    main()
