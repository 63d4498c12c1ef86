"""What the hubs' refusals mean to the user, and what there is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from swift.core.errors import MachineError, Problem, SwiftError, UserError
from swift.hub.ref import Ref
from swift.hub.web import Refused, Unreachable

_TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one address answered."""

    hub: str
    endpoint: str
    ref: Ref
    """What it was asked for."""

    error: Refused | Unreachable


def meaning(answers: Sequence[Answer]) -> SwiftError:
    """Return the error that says what each address answered.

    It is the user's where any of them answered, else the machine's.
    """
    problems = [_problem(answer) for answer in answers]
    if any(isinstance(answer.error, Refused) for answer in answers):
        return UserError(problems)
    return MachineError(problems)


def _problem(answer: Answer) -> Problem:
    where = f"{answer.ref.kind[:-1]} {answer.ref}"
    if isinstance(answer.error, Refused):
        what, fix = _refusal(answer, answer.error)
        return Problem(where=where, what=what, fix=fix)
    fix = (
        "look at the network and HTTPS_PROXY; HF_ENDPOINT and MODELSCOPE_ENDPOINT name other "
        "addresses; SWIFT_HUB=file:///folder names a folder"
    )
    return Problem(where=where, what=str(answer.error), fix=fix)


def _refusal(answer: Answer, error: Refused) -> tuple[str, str]:
    """Return what a refusal is, and how to mend it."""
    ref, token, host = answer.ref, _TOKENS[answer.hub], urlsplit(answer.endpoint).netloc
    said = f" ({error.said})" if error.said else ""
    if "gated" in error.said.lower():
        what = f"{host} gives it only to those who accepted its owner's terms{said}"
        return what, f"accept them on {answer.endpoint}/{ref.id}, then set {token}"
    if error.said == "RevisionNotFound":
        return f"{host} has no revision `{ref.revision}` of it", "a branch, a tag or a sha"
    if error.status == 404 or error.said == "RepoNotFound":
        what = f"{host} has no such {ref.kind[:-1]}, or it is private{said}"
        return what, f"look at the name; where it is private, set {token}"
    if error.status in (401, 403):
        what = f"{host} does not give it to us: {error.status}{said}"
        return what, f"set {token} to a token that may read it"
    return str(error), "try later, or another hub"
