"""Bearer tokens as the settings give them: words, or objects with a name and scopes; no error shows one."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, SecretStr

from adapters.literals import listed
from domain.access import DEFAULT_SCOPES, AccessScope
from domain.rate_limit import RateLimit

MAX_FILE_BYTES = 1_048_576
OWNER_DIGITS = 32


class AccessToken(BaseModel):
    """A token, and what its bearer may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretStr = Field(min_length=8)
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    scopes: frozenset[AccessScope] = Field(default=DEFAULT_SCOPES, min_length=1)
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None

    @property
    def digest(self) -> bytes:
        """What a caller's token is compared by."""
        return token_digest(self.token.get_secret_value())

    @property
    def owner(self) -> str:
        """The id of its bearer, to whom jobs belong."""
        return self.digest.hex()[:OWNER_DIGITS]

    @property
    def rate_limit(self) -> RateLimit:
        """Its bearer's, over all workers."""
        return RateLimit(self.requests_per_minute, self.tokens_per_minute)


def token_digest(token: str) -> bytes:
    """Return a hash of a token."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _token(value: Any) -> Any:
    if isinstance(value, str):
        return {"token": value}
    # pydantic's own error would name the key, which may be a token that was put in the wrong place
    if isinstance(value, dict) and not value.keys() <= AccessToken.model_fields.keys():
        raise ValueError(f"has keys other than {', '.join(AccessToken.model_fields)}")
    return value


def _read(value: Any) -> Any:
    """Read the file that a path names; it must hold a token, so that an empty one opens nothing."""
    if not isinstance(value, str | Path):
        return value
    try:
        with Path(value).expanduser().open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes")
    tokens = listed(text)
    if not tokens:
        raise ValueError("holds no token")
    return tokens


AccessTokens = tuple[Annotated[AccessToken, BeforeValidator(_token)], ...]
ListedTokens = Annotated[AccessTokens, BeforeValidator(listed)]
TokensOfFile = Annotated[AccessTokens, BeforeValidator(_read)]
