"""Uploading to Hugging Face, by its own client: it knows Xet, LFS and parts."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from swift.core.errors import Problem, UserError
from swift.hub.huggingface import HuggingFace
from swift.hub.parcel import Parcel
from swift.hub.progress import Show
from swift.hub.ref import Ref
from swift.hub.web import Cut, Refused, Unreachable, Web

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LATER = (408, 429)


class Up:
    """One Hugging Face, written to."""

    def __init__(self, site: HuggingFace) -> None:
        self._site = site

    def private(self, ref: Ref, web: Web) -> bool | None:
        """Return whether a repository is private; None where there is none."""
        headers = {"Authorization": f"Bearer {self._site.token}"}
        try:
            info, _ = web.json(f"{self._site.endpoint}/api/{ref.kind}/{ref.id}", headers)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return bool(info.get("private")) if isinstance(info, dict) else False

    def create(self, parcel: Parcel, web: Web) -> None:
        """Make the repository."""
        kind, id = parcel.ref.kind[:-1], parcel.ref.id
        with _telling(self._site.endpoint):
            self._patiently(
                web,
                lambda api: api.create_repo(
                    id, repo_type=kind, private=parcel.private or None, exist_ok=True
                ),
            )

    def send(self, parcel: Parcel, web: Web, show: Show) -> str:
        """Upload the files with the client's own bars, commit them, return the commit's sha."""
        from huggingface_hub import CommitOperationAdd

        ref = parcel.ref

        def commit(api: HfApi) -> str:
            if ref.revision not in ("", "main"):
                api.create_branch(
                    ref.id, repo_type=ref.kind[:-1], branch=ref.revision, exist_ok=True
                )
            # Made anew for each try: what a try uploaded, the hub says itself.
            adds = [
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=source)
                for path, source in parcel.files.items()
            ]
            done = api.create_commit(
                ref.id,
                adds,
                commit_message=parcel.message,
                repo_type=ref.kind[:-1],
                revision=ref.revision or None,
            )
            return str(done.oid)

        with _telling(self._site.endpoint):
            return str(self._patiently(web, commit))

    def page(self, ref: Ref) -> str:
        """Return where people see a repository."""
        half = "" if ref.kind == "models" else f"{ref.kind}/"
        return f"{self._site.endpoint}/{half}{ref.id}"

    def _patiently(self, web: Web, act: Any) -> Any:
        """Do `act` with the client, again where the hub asks for patience."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        api = HfApi(endpoint=self._site.endpoint, token=self._site.token)
        host = urlsplit(self._site.endpoint).netloc

        def once() -> Any:
            try:
                return act(api)
            except HfHubHTTPError as error:
                status = error.response.status_code
                said = (error.server_message or "").strip()
                if status in _LATER or status >= 500:
                    raise Cut(f"{host} answers {status}") from error
                raise Refused(status, said, host) from error

        return web.patiently(once)


@contextmanager
def _telling(endpoint: str) -> Iterator[None]:
    """Turn the client's own failures into ours, and keep its bars off what is no terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from huggingface_hub.utils.tqdm import disable_progress_bars as off
    from huggingface_hub.utils.tqdm import enable_progress_bars as on

    quiet = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if quiet:
        off()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on a card's further fields
            yield
    except ValueError as error:
        what = f"the hub's client refuses it: {error}"
        fix = "mend README.md, if it is yours; else tell us"
        raise UserError(Problem(where=endpoint, what=what, fix=fix)) from error
    except Exception as error:
        of_network = type(error).__module__.partition(".")[0].startswith("httpx")
        if not of_network and not isinstance(error, RuntimeError | OSError):
            raise
        raise Unreachable(f"{endpoint}: {error or type(error).__name__}") from error
    finally:
        if quiet:
            on()
