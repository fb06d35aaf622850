"""``fetch_model``: a Hub name becomes a folder or a GGUF file on this machine.

The library keeps what it fetched and resumes what broke off; a model fetched before works without a network.
"""

from pathlib import Path
from typing import Protocol

from huggingface_hub import HfApi, scan_cache_dir
from huggingface_hub.errors import (
    CacheNotFound,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from adapters.huggingface.choice import choose_files
from domain.errors import ConfigurationError

FORBIDDEN = frozenset({401, 403})


class FetchReporter(Protocol):
    """Told what is being fetched."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins."""
        ...

    def finish(self) -> None:
        """The last stage is over."""
        ...


def fetch_model(
    name: str, cache_dir: Path, *, token: str | None, report: FetchReporter, endpoint: str | None = None
) -> Path:
    """Fetch what is needed of a Hub repository.

    Args:
        name: ``owner/repository``, or ``owner/repository/file.gguf`` (a colon before the file works too).
        cache_dir: where the library keeps what it fetches.
        token: for private and gated repositories.
        report: told what is fetched.
        endpoint: of the Hub; None: the library's own default (``HF_ENDPOINT``).

    Raises:
        ConfigurationError: no such repository, no access, no network, or nothing in it that could run.
    """
    repository, gguf_file = split_name(name)
    api = HfApi(endpoint=endpoint, token=token or False)
    try:
        files = api.list_repo_files(repository)
    except Exception as error:
        kept = _kept_snapshot(repository, cache_dir)
        if kept is None or _is_refusal(error):
            raise _translated(repository, error, has_token=token is not None) from error
        files = [str(file.relative_to(kept).as_posix()) for file in kept.rglob("*") if file.is_file()]
        return kept / choose_files(repository, files, gguf_file).entry
    chosen = choose_files(repository, files, gguf_file)
    report.start(f"fetching {repository} ({len(chosen.files)} files)", len(chosen.files))
    try:
        folder = api.snapshot_download(repository, allow_patterns=list(chosen.files), cache_dir=cache_dir)
    except Exception as error:
        raise _translated(repository, error, has_token=token is not None) from error
    finally:
        report.finish()
    missing = [file for file in chosen.files if not (Path(folder) / file).is_file()]
    if missing:
        raise ConfigurationError(
            f"fetching {repository} broke off: {missing[0]} is missing; start again to resume"
        )
    return Path(folder) / chosen.entry


def split_name(name: str) -> tuple[str, str | None]:
    """Split ``owner/repository/file.gguf`` into the repository and the file."""
    owner, _, rest = name.replace(":", "/").partition("/")
    repository, _, file = rest.partition("/")
    return f"{owner}/{repository}", file or None


def _kept_snapshot(repository: str, cache_dir: Path) -> Path | None:
    """Return the folder of what was fetched before; it holds what was chosen, not the whole repository."""
    try:
        repositories = scan_cache_dir(cache_dir).repos
    except (CacheNotFound, ValueError):
        return None
    for kept in repositories:
        for revision in kept.revisions if kept.repo_id == repository else ():
            if "main" in revision.refs:
                return revision.snapshot_path
    return None


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, RepositoryNotFoundError) or _status(error) in FORBIDDEN


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _translated(repository: str, error: Exception, *, has_token: bool) -> ConfigurationError:
    token = "HUGGING_FACE_HUB_TOKEN was refused" if has_token else "set HUGGING_FACE_HUB_TOKEN"
    match error:
        case GatedRepoError():
            reason = f"it is gated: ask for access on its page; {token}"
        case _ if _status(error) in FORBIDDEN:
            reason = f"access was refused: {token}"
        case RepositoryNotFoundError():
            reason = f"it does not exist, or is private: {token}"
        case HFValidationError():
            reason = "that is no name of a repository"
        case _ if (status := _status(error)) is not None:
            reason = f"the Hub answered {status}"
        case _:
            reason = (
                f"the download broke off or the Hub could not be reached ({type(error).__name__}): "
                "start again to resume, or set LLM_MODEL to a folder or file"
            )
    return ConfigurationError(f"{repository} cannot be fetched: {reason}")
