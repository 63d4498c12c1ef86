"""What a hub is asked with: an address and a token that can be sent as they are."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from swift.core.errors import Problem, UserError

_TOKEN = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""What a cookie may hold: visible ASCII without `"`, `,`, `;` and the backslash."""


def sound_token(token: str, where: str) -> str:
    """Return a token without the blanks around it.

    Args:
        token: What was given.
        where: What holds it: a variable, a flag or a file.

    Raises:
        UserError: No hub gives such a token; its value is not told.
    """
    bare = token.strip()
    if not _TOKEN.fullmatch(bare):
        what = f"{where} holds a character no token has"
        raise UserError(Problem(what=what, fix="copy the token again, from the hub"))
    return bare


def sound_address(address: str, where: str) -> str:
    """Return the address of a hub.

    Args:
        address: With its scheme.
        where: The variable that holds it.

    Raises:
        UserError: It is none, or holds a password, which would be told with it.
    """
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if "@" in address:
        what = "it holds a user's name or a password, which no hub is sent"
    elif not good or not address.isprintable() or " " in address:
        what = f"`{ascii(address)[1:-1][:200]}` is no address of a hub"
    else:
        return address
    raise UserError(Problem(where=where, what=what, fix=f"{where}=https://HOST"))
