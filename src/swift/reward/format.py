"""Format: whether an answer is laid out as it should be, whatever it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import field_validator

from swift.reward import Answer, Reward, rewards

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "think": ("<think>", "</think>"),
    "think_answer": ("<think>", "</think>", "<answer>", "</answer>"),
}
"""Tags that stand in an answer once each, in this order."""


@rewards.add("format")
class Format(Reward):
    """1 where the answer has the layout, else 0 (DeepSeek-R1, arXiv:2501.12948, section 2.2.2).

    Nothing but white space stands before the first tag, nor after `</answer>`; after `</think>`
    alone stands the answer. An answer that was cut has no layout.
    """

    pattern: str = "think_answer"
    """think_answer: `<think>…</think><answer>…</answer>`; think: `<think>…</think>…`; else a
    regular expression that the whole answer must match, where a dot is any character."""

    opened: bool = False
    """Whether the template itself writes `<think>`, so that answers begin inside of it."""

    @field_validator("pattern")
    @classmethod
    def _expression(cls, pattern: str) -> str:
        if pattern not in LAYOUTS:
            from swift.reward._bounded import compiled

            compiled(pattern)
        return pattern

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return 1.0 or 0.0 for each."""
        return [float(self._right(answer)) for answer in answers]

    def _right(self, answer: Answer) -> bool:
        if self.pattern not in LAYOUTS:
            from swift.reward._bounded import fits

            return fits(self.pattern, answer.text)
        text = f"<think>{answer.text}" if self.opened else answer.text
        return answer.finish != "length" and laid_out(text, LAYOUTS[self.pattern])


def laid_out(text: str, tags: Sequence[str]) -> bool:
    """Return whether each tag stands in `text` once, in order, and nothing where it should not."""
    at = [text.find(tag) for tag in tags]
    if -1 in at or at != sorted(at) or any(text.count(tag) != 1 for tag in tags):
        return False
    outside = [text[: at[0]]]
    if "<answer>" in tags:
        outside += [text[at[1] + len(tags[1]) : at[2]], text[at[3] + len(tags[3]) :]]
        inside = text[at[2] + len(tags[2]) : at[3]]
    else:
        inside = text[at[1] + len(tags[1]) :]
    return bool(inside.strip()) and not any(part.strip() for part in outside)
