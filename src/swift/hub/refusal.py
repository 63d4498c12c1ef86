"""What the hubs' refusals mean to the user, and what there is to do."""

from __future__ import annotations

from collections.abc import Sequence

from swift.core.errors import MachineError, Problem, SwiftError, UserError
from swift.hub.ref import Ref
from swift.hub.web import Refused


def meaning(answers: Sequence[tuple[str, Ref, Exception]]) -> SwiftError:
    """Return the error that says what each host answered when it was asked for something.

    It is the user's where any hub answered, else the machine's.
    """
    problems = [_problem(ref, host, error) for host, ref, error in answers]
    if any(isinstance(error, Refused) for _, _, error in answers):
        return UserError(problems)
    return MachineError(problems)


def _problem(ref: Ref, host: str, error: Exception) -> Problem:
    where = f"{ref.kind[:-1]} {ref}"
    if not isinstance(error, Refused):
        fix = (
            "look at the network and HTTPS_PROXY; HF_ENDPOINT and MODELSCOPE_ENDPOINT name other "
            "addresses; SWIFT_HUB=file:///folder names a folder"
        )
        return Problem(where=where, what=str(error), fix=fix)
    token = "MODELSCOPE_API_TOKEN" if "modelscope" in host else "HF_TOKEN"
    said = f" ({error.said})" if error.said else ""
    if "gated" in error.said.lower():
        what = f"{host}: its owner gives it only to those who accept terms{said}"
        fix = f"accept them on https://{host}/{ref.id}, then set {token}"
    elif error.said == "RevisionNotFound":
        what, fix = f"{host} has no revision `{ref.revision}` of it", "a branch, a tag or a sha"
    elif error.status == 404 or error.said == "RepoNotFound":
        what = f"{host} has no such {ref.kind[:-1]}, or it is private{said}"
        fix = f"look at the name; where it is private, set {token}"
    elif error.status in (401, 403):
        what = f"{host} does not give it to us: {error.status}{said}"
        fix = f"set {token} to a token that may read it"
    else:
        what, fix = f"{error}", "try later, or another hub"
    return Problem(where=where, what=what, fix=fix)
