"""Who may do what: the scopes of a bearer token."""

from enum import StrEnum


class AccessScope(StrEnum):
    """What a token lets its bearer do."""

    INFER = "infer"
    """Requests, proofs and the lists of what is served."""
    JOBS = "jobs"
    """Reading and cancelling the bearer's own jobs."""
    ADMIN = "admin"
    """Metrics."""


DEFAULT_SCOPES = frozenset({AccessScope.INFER, AccessScope.JOBS})


def scope_for_path(path: str) -> AccessScope:
    """Return the scope that a path needs."""
    if path.rstrip("/") == "/metrics":
        return AccessScope.ADMIN
    if path == "/jobs" or path.startswith("/jobs/"):
        return AccessScope.JOBS
    return AccessScope.INFER
