"""Refusal: why a request is not answered, in OpenAI's shape of an error."""

from __future__ import annotations

from typing import Any

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with an error."""

    def __init__(
        self, status: int, message: str, *, param: str = "", code: str = "", allow: str = ""
    ) -> None:
        """Refuse with an HTTP status.

        Args:
            status: 4xx or 5xx.
            message: What is wrong, in words for the client's user.
            param: The field that is to blame.
            code: A word for programs.
            allow: The method that would have been right.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.allow = allow

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "param": self.param or None,
                "code": self.code or None,
            }
        }
