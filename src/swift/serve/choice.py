"""Which calls a client demands or forbids: OpenAI's `tool_choice` and `parallel_tool_calls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swift.chat.tools import Style
from swift.serve.refusal import Refusal

_PARAM = "tool_choice"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked of an answer's calls."""

    offered: tuple[str, ...] = ()
    """Names of the tools; () where nobody says: any."""

    demanded: bool = False
    """Whether the answer has to be a call of one of them."""

    parallel: bool = True
    """Whether it may be several."""

    @property
    def wanted(self) -> str:
        """The tools in words."""
        return " or ".join(f"`{name}`" for name in self.offered)

    def allows(self, name: str) -> bool:
        """Tell whether a call of a tool is one that was asked for."""
        return not self.demanded or name in self.offered

    def begun(self, style: Style) -> str:
        """Return what the prompt ends with: the beginning of a demanded call, else ""."""
        if not self.demanded:
            return ""
        return style.begun(self.offered[0] if len(self.offered) == 1 else "")


AUTO = Choice()
"""The model calls what it likes."""


def chosen(
    said: Any, parallel: bool | None, tools: Sequence[Mapping[str, Any]], style: Style | None
) -> Choice:
    """Return what a request asks of calls.

    Args:
        said: Its `tool_choice`: none, auto, required, or a function by name.
        parallel: Its `parallel_tool_calls`.
        tools: Those that it offers.
        style: How the model spells calls; None where nobody knows.

    Raises:
        Refusal: 400; a call is demanded that cannot be had.
    """
    one = parallel is False
    if said in (None, "auto", "none"):
        return Choice(parallel=not one)
    names = tuple(str(_function(tool).get("name")) for tool in tools)
    if said != "required":
        name = _function(said).get("name") if isinstance(said, Mapping) else None
        kind = said.get("type") if isinstance(said, Mapping) else None
        if kind != "function" or not isinstance(name, str):
            message = f"`{_PARAM}` is none, auto, required, or a function by its name"
            raise Refusal(400, message, param=_PARAM)
        if name not in names:
            raise Refusal(400, f"`{_PARAM}` names `{name}`, which `tools` lacks", param=_PARAM)
        names = (name,)
    if not names:
        raise Refusal(400, f"`{_PARAM}` goes with `tools`", param=_PARAM)
    if style is None:
        message = f"`{_PARAM}` demands a call, and nothing tells how this model spells one"
        raise Refusal(400, message, param=_PARAM)
    return Choice(offered=names, demanded=True, parallel=not one)


def _function(said: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = said.get("function")
    return inner if isinstance(inner, Mapping) else said
