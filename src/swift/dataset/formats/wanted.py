"""What a method wants of a row, out of what the row says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from swift.chat.message import REASONING, Message, Sample
from swift.dataset.rejects import Reject, Row, encodable, listed, number

_TRUE = frozenset({"true", "1", "1.0", "yes", "good", "desirable"})
_FALSE = frozenset({"false", "0", "0.0", "no", "bad", "undesirable"})


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a method wants of each row."""

    name: str
    columns: tuple[str, ...] = ()
    """One of these must be there; () for any."""

    lacks: str = ""
    """What a row without them does not hold, and what for: said of a whole source."""

    fix: str = ""
    """Name of a column that would do."""

    take: Callable[[Sample, Row], Iterable[Sample]]
    """Returns the samples that the method gets; raises Reject."""


def _answers(sample: Sample, row: Row) -> tuple[Sample, ...]:
    if not sample.text:
        _answered(sample.chosen)
    return (_plain(sample),)


def _plain(sample: Sample) -> Sample:
    """Return the sample without what is beside its first side."""
    if not (sample.rejected or sample.positives or sample.negatives):
        return sample
    return replace(
        sample, rejected=(), rejected_media=(), positives=(), negatives=(), other_media=()
    )


def _pairs(sample: Sample, row: Row) -> tuple[Sample, ...]:
    if not sample.rejected:
        raise Reject("several-answers" if sample.negatives else "no-rejected")
    for side in (sample.chosen, sample.rejected):
        if not side or side[-1].role != "assistant":
            raise Reject("no-answer")
        _answered(side)
    if (sample.chosen, sample.media) == (sample.rejected, sample.rejected_media):
        raise Reject("equal-pair")
    return (sample if row.get("margin") is None else replace(sample, margin=_margin(row)),)


def _labels(sample: Sample, row: Row) -> tuple[Sample, ...]:
    """A labelled answer; of a pair both answers, the one good, the other not."""
    if sample.text:
        raise Reject("no-answer")
    _answered(sample.chosen)
    said = next((row[name] for name in ("label", "kto_tag") if row.get(name) is not None), None)
    if said is not None:
        return (replace(sample, rejected=(), rejected_media=(), label=_label(said)),)
    if not sample.rejected:
        raise Reject("no-label")
    good, bad = _pairs(sample, {})[0], sample.rejected
    good = replace(good, rejected=(), rejected_media=(), label=True)
    return good, replace(good, chosen=bad, media=sample.rejected_media, label=False)


def _prompts(sample: Sample, row: Row) -> tuple[Sample, ...]:
    """A question; an answer to it that the row holds is what a right one comes to."""
    turns = sample.chosen
    asked = next((i for i in range(len(turns), 0, -1) if turns[i - 1].role != "assistant"), 0)
    if not asked or turns[asked - 1].role not in ("user", "tool"):
        raise Reject("no-question")
    if not any(turn.role == "user" and turn.content.strip() for turn in turns[:asked]):
        raise Reject("empty-question")
    told = "".join(turn.content for turn in turns[asked:])
    solution = _solution(row) or told
    media = sample.media[: _places(sample, asked)]
    return (replace(sample, chosen=turns[:asked], rejected=(), rejected_media=(), media=media,
                    solution=solution),)  # fmt: skip


def _places(sample: Sample, asked: int) -> int:
    """Return how many of the media stand in the first turns."""
    kinds = {f"<{media.kind}>" for media in sample.media}
    return sum(turn.content.count(tag) for turn in sample.chosen[:asked] for tag in kinds)


def _classes(sample: Sample, row: Row) -> tuple[Sample, ...]:
    if sample.text:
        sample = replace(sample, text="", chosen=(Message(role="user", content=sample.text),))
    said = next((row[name] for name in ("label", "labels") if row.get(name) is not None), None)
    if said is None:
        raise Reject("no-label")
    return (replace(sample, rejected=(), rejected_media=(), target=_target(said)),)


def _embeddings(sample: Sample, row: Row) -> tuple[Sample, ...]:
    """A text and others: named so, or as an answer and its rejected ones."""
    if not sample.positives:
        sample = _as_texts(sample)
    texts = (sample.chosen, *sample.positives, *sample.negatives)
    if not all(any(turn.content.strip() for turn in text) for text in texts):
        raise Reject("empty")
    named = ("label", "score", "similarity")
    said = next((row[name] for name in named if row.get(name) is not None), None)
    return (sample if said is None else replace(sample, target=_score(said)),)


def _as_texts(sample: Sample) -> Sample:
    """Return a question and its answer as two texts, a rejected answer as a third."""
    if not sample.chosen or sample.chosen[-1].role != "assistant" or len(sample.chosen) < 2:
        raise Reject("no-positive")
    anchor = _places(sample, len(sample.chosen) - 1)
    media = [sample.media[anchor:]]
    positive, negatives = (sample.chosen[-1],), sample.negatives
    if sample.rejected:
        negatives = ((sample.rejected[-1],),)
        media.append(sample.rejected_media[anchor:])
    return replace(
        sample,
        chosen=sample.chosen[:-1],
        media=sample.media[:anchor],
        rejected=(),
        rejected_media=(),
        positives=(positive,),
        negatives=negatives,
        other_media=tuple(media) if any(media) else (),
    )


def _answered(turns: tuple[Message, ...]) -> None:
    """Refuse a conversation in which the assistant, or the user, says nothing."""
    found = False
    for turn in turns:
        empty = not turn.content or turn.content.isspace()
        if turn.role == "assistant":
            found = True
            thinks = any(turn.more.get(name) for name in REASONING)
            if empty and turn.loss is not False and not turn.more.get("tool_calls") and not thinks:
                raise Reject("empty-answer")
        elif turn.role == "user" and empty:
            raise Reject("empty-question")
    if not found:
        raise Reject("no-answer")


def _label(said: Any) -> bool:
    word = str(said).strip().lower() if isinstance(said, str | bool | int | float) else ""
    if word not in _TRUE | _FALSE:
        raise Reject("wrong-label")
    return word in _TRUE


def _target(said: Any) -> int | float | tuple[int, ...] | tuple[float, ...]:
    if isinstance(said, str) and said.lstrip().startswith("["):
        said = listed(said)
    if isinstance(said, bool):
        return int(said)
    if isinstance(said, list | tuple):
        found = [number(one) for one in said]
        whole = tuple(one for one in found if one is not None)
        if len(whole) < len(found) or not found:
            raise Reject("wrong-label")
        return whole
    found_one = number(said)
    if found_one is None:
        raise Reject("wrong-label")
    return found_one


def _score(said: Any) -> int | float:
    found = int(said) if isinstance(said, bool) else number(said)
    if found is None:
        raise Reject("wrong-label")
    return found


def _margin(row: Row) -> float:
    found = number(row["margin"])
    if found is None:
        raise Reject("wrong-margin")
    return float(found)


def _solution(row: Row) -> str:
    """Return what a column says a right answer comes to; "" where none does."""
    said = row.get("solution")
    said = row.get("ground_truth") if said is None else said
    if said is None and isinstance(model := row.get("reward_model"), Mapping):
        said = model.get("ground_truth")
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        return ""
    encodable(str(said))
    return str(said)


_PAIR = ("rejected", "rejected_response", "rejected_messages", "rejected_images")

WISHES: Mapping[str, Wish] = {
    wish.name: wish
    for wish in (
        Wish(name="answers", take=_answers),
        Wish(
            name="pairs",
            columns=_PAIR,
            lacks="no second answer, and pairs are trained",
            fix="rejected_response",
            take=_pairs,
        ),
        Wish(
            name="labels",
            columns=("label", "kto_tag", *_PAIR),
            lacks="neither a label nor a second answer, and labelled answers are trained",
            fix="label",
            take=_labels,
        ),
        Wish(name="prompts", take=_prompts),
        Wish(
            name="classes",
            columns=("label", "labels"),
            lacks="no label, and classes are trained",
            fix="label",
            take=_classes,
        ),
        Wish(name="embeddings", take=_embeddings),
    )
}
"""What methods want: answers to learn, pairs of them, labelled ones (KTO), prompts whose answers
are drawn (online methods), classes or numbers, texts that mean the same (embeddings, rerankers)."""
