"""Bearer tokens: their forms, their file, their scopes, and that no error shows one."""

from pathlib import Path
from typing import Any

import pytest

from adapters.settings import read_settings
from domain.access import AccessScope
from domain.errors import ConfigurationError
from tests.unit.test_http_app import assert_is_error, client_of

SECRET = "marker-of-a-secret"
INFER, JOBS, ADMIN = AccessScope.INFER, AccessScope.JOBS, AccessScope.ADMIN


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text",
    [f"{SECRET},other-secret", f"{SECRET}\nother-secret\n", f'["{SECRET}", "other-secret"]'],
)
def test_words_may_infer_and_see_jobs(monkeypatch: pytest.MonkeyPatch, text: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(text)
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "tokens")

    tokens = read_settings().access_tokens

    assert [token.token.get_secret_value() for token in tokens] == [SECRET, "other-secret"]
    assert all(token.scopes == {INFER, JOBS} for token in tokens)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no token"),
        ("[]", "holds no token"),
        (f'["{SECRET}"', "neither JSON"),
        (f'[{{"{SECRET}": "alice"}}]', "keys other than"),
        (f'[{{"token": "{SECRET}", "scopes": ["{SECRET}"]}}]', "scopes"),
        (f'[{{"token": "{SECRET}", "scopes": []}}]', "scopes"),
        (f'[{{"token": "{SECRET}", "name": "{SECRET} "}}]', "name"),
        (f'{{"token": "{SECRET}"}}', "tuple"),
        (f"{SECRET},{SECRET}", "twice"),
        ("short", "8"),
    ],
)
def test_a_wrong_file_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "tokens").write_text(text)
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "tokens")

    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_settings()

    assert "LLM_AUTH_TOKENS_FILE" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_missing_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "missing")

    with pytest.raises(ConfigurationError, match=r"LLM_AUTH_TOKENS_FILE.*No such file"):
        read_settings()


@pytest.mark.parametrize(
    ("scope", "path"),
    [(INFER, "/workflows"), (INFER, "/v1/models"), (JOBS, "/jobs"), (ADMIN, "/metrics")],
)
def test_a_path_needs_its_scope(scope: AccessScope, path: str) -> None:
    tokens: list[dict[str, Any]] = [{"token": f"token-for-{each}", "scopes": [each]} for each in AccessScope]
    with client_of(LLM_AUTH_TOKENS=tokens) as client:
        for each in AccessScope:
            response = client.get(path, headers={"Authorization": f"Bearer token-for-{each}"})
            if each is scope:
                assert response.status_code == 200
                continue
            assert response.status_code == 403
            assert f"scope {scope}" in response.text
            assert f'scope="{scope}"' in response.headers["www-authenticate"]


def test_open_paths_need_no_scope() -> None:
    with client_of(LLM_AUTH_TOKENS=[{"token": SECRET, "scopes": [ADMIN]}]) as client:
        assert client.get("/health", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
        assert_is_error(client.get("/workflows"), 401, "token")
