"""Asking a hub over HTTP: proxies, redirects, patience, and what an answer means."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from threading import Event
from time import time
from typing import IO, Any, Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from swift import __version__

T = TypeVar("T")
_WE = {"User-Agent": f"swift/{__version__}", "Accept-Encoding": "identity"}
_THINKING = 300.0
"""Seconds that a hub may take over what it was sent."""

_SECRET = ("authorization", "cookie")


class Body(Protocol):
    """What is sent: anything that can be read, or bytes."""

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes; none at the end."""


class Refused(Exception):  # noqa: N818 - an answer, no mistake
    """A hub answered, and said no: asking again helps nothing."""

    def __init__(self, status: int, said: str, host: str) -> None:
        self.status, self.said, self.host = status, said, host
        super().__init__(f"{host} answers {status}" + (f": {said}" if said else ""))


class Unreachable(Exception):  # noqa: N818
    """A hub did not answer, or not with sense, however patiently it was asked."""


class Cut(Exception):  # noqa: N818
    """This try failed, another may not."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(why)


class Silent(Cut):
    """There was no answer at all."""


class Gained(Cut):
    """This try failed too, but brought bytes: the count of failures begins anew."""


class Beyond(Cut):
    """416: there is no byte where this try was to begin."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a hub is waited for."""

    tries: int = 6
    """Failures in a row, none of which brought anything, before giving up."""

    knocks: int = 6
    """Times in a row that no answer at all may come."""

    first: float = 0.5
    """Seconds before the second try; doubled for each further one, with up to a half more."""

    longest: float = 20.0
    """Most seconds between two tries, unless the hub asks for more."""

    obey: float = 300.0
    """Most seconds that a hub may ask us to wait (Retry-After)."""

    silence: float = 30.0
    """Seconds without a byte after which a connection counts as cut."""

    def after(self, failures: int, asked: float) -> float:
        """Return the seconds to wait after so many failures, the hub having asked for `asked`."""
        own = min(self.longest, self.first * 2.0 ** (failures - 1))
        return max(min(asked, self.obey), own * random.uniform(1.0, 1.5))


@dataclass(frozen=True, kw_only=True)
class Web:
    """A way to the hubs; shared by threads."""

    patience: Patience
    stop: Event
    """Set to give up at once."""

    opener: OpenerDirector

    def open(self, url: str, headers: Mapping[str, str], start: int = 0) -> HTTPResponse:
        """Return the answer to one GET, from byte `start` on if the server can.

        Raises:
            Refused: 4xx but 408, 416, 429; 3xx that leads nowhere.
            Beyond: 416.
            Silent: No answer.
            Cut: 408, 429 or 5xx.
            Unreachable: It cannot be asked at all.
        """
        part = {"Range": f"bytes={start}-"} if start else {}
        return self._answer(Request(url, headers={**_WE, **headers, **part}))

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | bytes = b"",
        size: int = 0,
    ) -> HTTPResponse:
        """Return the answer to one request with a body of `size` bytes; none for a GET.

        A hub reads and checks what it got before it answers: it may be silent for minutes.

        Raises:
            Refused: 4xx but 408, 416, 429.
            Silent: No answer.
            Cut: 408, 429 or 5xx.
        """
        data = {} if method == "GET" else {"data": body}
        length = {"Content-Length": str(size)} if data else {}
        whole = {**_WE, **headers, **length}
        request = Request(url, headers=whole, method=method, **data)  # type: ignore[arg-type]
        return self._answer(request, _THINKING if data else 0.0)

    def _answer(self, request: Request, at_least: float = 0.0) -> HTTPResponse:
        url = request.full_url
        patience = max(at_least, self.patience.silence)
        try:
            found = self.opener.open(request, timeout=patience)
        except HTTPError as error:
            with error:
                raise _meaning(error, url) from error
        except (URLError, HTTPException, OSError, ValueError) as error:
            if _malformed(error):
                what = f"{_host(url)} cannot be asked: an address or a header is malformed"
                raise Unreachable(what) from None  # what Python says tells the header, a token too
            raise Silent(_why(error, url)) from error
        return found  # type: ignore[no-any-return]

    def json(self, url: str, headers: Mapping[str, str]) -> tuple[Any, HTTPMessage]:
        """Return what a GET answers, parsed, and the answer's headers.

        Raises:
            Refused: The hub says no.
            Unreachable: It says nothing, or no JSON.
        """

        def once() -> tuple[Any, HTTPMessage]:
            with self.open(url, headers) as answer:
                try:
                    return json.loads(answer.read()), answer.headers
                except (HTTPException, OSError) as error:
                    raise Cut(_why(error, url)) from error
                except (ValueError, RecursionError) as error:
                    raise Cut(f"{_host(url)} answers what is no JSON") from error

        return self.patiently(once)

    def patiently(self, once: Callable[[], T], tell: Callable[[str], None] | None = None) -> T:
        """Return what `once` returns, tried again after each Cut.

        Raises:
            Unreachable: Every try failed.
        """
        failures = knocks = 0
        while True:
            try:
                return once()
            except Cut as cut:
                failures = 1 if isinstance(cut, Gained) else failures + 1
                knocks = knocks + 1 if isinstance(cut, Silent) else 0
                why, asked = str(cut), cut.wait
            if failures >= self.patience.tries or knocks >= self.patience.knocks:
                raise Unreachable(why)
            if asked > self.patience.obey:
                raise Unreachable(f"{why}, and wants {asked:.0f} s of patience")
            wait = self.patience.after(failures, asked)
            if tell:
                tell(f"{why}; again in {wait:.1f} s")
            if self.stop.wait(wait):
                raise Unreachable("stopped")


def way(patience: Patience | None = None) -> Web:
    """Return a way to the hubs, through the proxies that the environment names."""
    opener = build_opener(ProxyHandler(), HTTPSHandler(context=_trust()), _Redirects())
    return Web(patience=patience or Patience(), stop=Event(), opener=opener)


def _trust() -> ssl.SSLContext:
    """Return the system's certificates, or certifi's where the system has none."""
    places = ssl.get_default_verify_paths()
    if places.cafile is None and places.capath is None:
        with suppress(ImportError):
            import certifi

            return ssl.create_default_context(cafile=certifi.where())
    return ssl.create_default_context()


class _Redirects(HTTPRedirectHandler):
    """Follows to other hosts, but tells them no secret."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and origin(newurl) != origin(req.full_url):
            kept = {k: v for k, v in new.headers.items() if k.lower() not in _SECRET}
            new.headers = kept
        return new


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port: what must be equal for a secret to be sent."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or usual


def _meaning(error: HTTPError, url: str) -> Exception:
    if (scheme := urlsplit(error.url or url).scheme) not in ("http", "https"):
        said = f"it redirects to a `{scheme}:` address, which is not followed"
        return Refused(error.code, said, _host(url))
    host = _host(error.url or url)
    said = error.headers.get("X-Error-Code") or _message(error)
    if error.code == 416:
        return Beyond(f"{host} has no such byte")
    if error.code in (408, 429) or error.code >= 500:
        return Cut(f"{host} answers {error.code}", _wait(error.headers.get("Retry-After") or ""))
    return Refused(error.code, said, host)


def _message(error: HTTPError) -> str:
    """Return what the body of a refusal says, if it says it in JSON."""
    with suppress(OSError, HTTPException, ValueError, RecursionError):
        body = json.loads(error.read(65536))
        if isinstance(body, dict):
            said = body.get("error") or body.get("Message") or body.get("message") or ""
            return str(said)[:200]
    return ""


def _wait(said: str) -> float:
    """Return the seconds that Retry-After asks for: a number or a date."""
    if said.strip().isdecimal():
        return float(said[:9])
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time())
    return 0.0


def _malformed(error: Exception) -> bool:
    """Return whether a request never left: asking again helps nothing."""
    of_python = isinstance(error, ValueError) and not isinstance(error, OSError)
    return of_python or isinstance(error, InvalidURL)


def _why(error: Exception, url: str) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    said = (getattr(cause, "strerror", None) or str(cause)) if cause else ""
    return f"{_host(url)} cannot be reached: {said or type(error).__name__}"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
