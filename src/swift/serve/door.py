"""Who may ask: checked before anything else is read of a request."""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from swift.serve.refusal import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers

OPEN = "/health"
"""The path that asks for no key: probes have none."""


class Door:
    """Lets in whoever has the key, and on loopback whoever calls this machine by its own name.

    A page of a stranger, open in a browser here, can have its own name point to 127.0.0.1 (DNS
    rebinding); its Host is then that name. And it can send a request without reading the answer;
    its Origin is then its own.
    """

    def __init__(self, host: str, api_key: str | None) -> None:
        """Guard a server that listens on `host`."""
        self._key = api_key.encode() if api_key else None
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        self._local = is_loopback(host)

    def check(self, path: str, headers: Headers) -> None:
        """Let a request in.

        Raises:
            Refusal: 401 without the right key, 403 with a stranger's Host or Origin.
        """
        if self._local:
            self._check_name("host", "//" + headers.get("host", "localhost"))
            self._check_name("origin", headers.get("origin", "//localhost"))
        if self._key is None or path == OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # latin-1 is what headers are decoded by: no client's letter can fail here
        if scheme.lower() == "bearer" and compare_digest(given.encode("latin-1"), self._key):
            return
        raise Refusal(401, "the API key is missing or wrong", code="invalid_api_key")

    def _check_name(self, header: str, url: str) -> None:
        try:
            name = urlsplit(url).hostname
        except ValueError:
            name = None
        if name not in self._names:
            message = f"this server answers this machine only; the header `{header}` says otherwise"
            raise Refusal(403, message, code=f"{header}_not_allowed")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
