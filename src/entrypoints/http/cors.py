"""Which pages of other origins a browser lets read the answers (CORS); without a setting, none."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "DELETE")
READABLE_HEADERS = (
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Completion-Tokens",
    "X-Finish-Reason",
    "X-Model-Id",
    "X-Prompt-Tokens",
    "X-Request-ID",
)


def cors(origins: Sequence[str]) -> list[Middleware]:
    """Return what answers preflight requests and marks answers; it must stand before what asks for tokens.

    Any header may be sent: there are no cookies, and a page has the token only from its reader.
    """
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=("*",),
            expose_headers=READABLE_HEADERS,
        )
    ]
