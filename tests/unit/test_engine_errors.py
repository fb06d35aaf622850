"""What workers take the engine process's errors for."""

from typing import Any

import pytest

from adapters.openai_http.engine_errors import engine_error
from domain.errors import BackendError, FieldProblem, InvalidRequestError, ServiceError
from entrypoints.http.openai_api.errors import openai_error_content

REFUSAL = InvalidRequestError(FieldProblem("constraint.regex", "is too complex"))


def crossed(status_told: int | None, status: int, error: ServiceError) -> ServiceError:
    content: Any = openai_error_content(status, str(error), error)["error"]
    return engine_error(status_told, content)


@pytest.mark.parametrize("status_told", [400, None], ids=["answer", "event"])
def test_a_request_that_is_wrong_stays_the_callers_in_an_event_of_a_stream_too(
    status_told: int | None,
) -> None:
    error = crossed(status_told, 400, REFUSAL)

    assert type(error) is InvalidRequestError
    assert error.problems == REFUSAL.problems


@pytest.mark.parametrize("status_told", [500, None], ids=["answer", "event"])
def test_what_the_engine_did_not_foresee_is_the_backends(status_told: int | None) -> None:
    assert type(crossed(status_told, 500, ServiceError("failed"))) is BackendError


def test_a_path_that_the_engine_has_not_is_no_fault_of_the_callers() -> None:
    content: Any = openai_error_content(404, "Not Found")["error"]

    assert type(engine_error(404, content)) is BackendError
