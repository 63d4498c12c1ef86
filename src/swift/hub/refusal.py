"""What the hubs' refusals mean to the user, and what there is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from swift.core.errors import MachineError, Problem, SwiftError, UserError
from swift.hub.ref import Ref
from swift.hub.web import Refused, Unreachable

TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
"""Variable that holds each hub's token."""

_NETWORK = (
    "look at the network and HTTPS_PROXY; HF_ENDPOINT and MODELSCOPE_ENDPOINT name other "
    "addresses; SWIFT_HUB=file:///folder names a folder"
)


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
    return Problem(where=where, what=str(answer.error), fix=_NETWORK)


def unreached(ref: Ref, error: Unreachable) -> MachineError:
    """Return the error of a push that found no hub, or lost it on the way."""
    where = f"{ref.kind[:-1]} {ref}"
    fix = f"push again: what is up already is not sent twice; else {_NETWORK}"
    return MachineError(Problem(where=where, what=str(error), fix=fix))


def denied(hub: str, endpoint: str, ref: Ref, error: Refused) -> UserError:
    """Return the error of a push that a hub does not take."""
    host, token = urlsplit(endpoint).netloc, TOKENS[hub]
    said = f" ({error.said})" if error.said else ""
    fixes = {
        401: (f"{host} does not know the token", f"set {token} to one that is valid"),
        403: (
            f"{host} does not let this token write to {ref.id}",
            f"set {token} to a token that may write, or push to a name of your own",
        ),
        404: (
            f"{host} has no place for {ref.id}",
            "look at the name before the `/`, and at the revision",
        ),
        413: (f"{host} finds it too large", "a private repository may be smaller than a public"),
    }
    what, fix = fixes.get(error.status, (f"{host} answers {error.status}", "mend what it names"))
    return UserError(Problem(where=f"{ref.kind[:-1]} {ref}", what=f"{what}{said}", fix=fix))


def _refusal(answer: Answer, error: Refused) -> tuple[str, str]:
    """Return what a refusal is, and how to mend it."""
    ref, token, host = answer.ref, TOKENS[answer.hub], urlsplit(answer.endpoint).netloc
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
    if 300 <= error.status < 400:
        return str(error), f"look at {answer.endpoint}: it does not answer as a hub does"
    return str(error), "try later, or another hub"
