"""From pydantic's validation errors to ours: the field's path and the reason, without the value."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain.errors import FieldProblem, InvalidRequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_PROBLEMS = 10
MAX_PATH_CHARACTERS = 120


def validated(model: type[ModelT], value: Any, *, under: str = "") -> ModelT:
    """Return ``value`` as an instance of ``model``.

    ``under`` is the path of ``value`` inside the request, for the error.

    Raises:
        InvalidRequestError: names at most ``MAX_PROBLEMS`` fields.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequestError(
            *(
                FieldProblem(_path(under, _fields(detail, value)), detail["msg"])
                for detail in details[:MAX_PROBLEMS]
            ),
        ) from error


def _fields(detail: ErrorDetails, value: Any) -> list[int | str]:
    """Return where an error is, without the names that pydantic adds for the branches of unions."""
    fields: list[int | str] = []
    path = detail["loc"]
    # what is no object a validator of the model's own has made one of: its fields are not the caller's
    is_callers = isinstance(value, dict)
    for number, part in enumerate(path, 1):
        is_missing = detail["type"] == "missing" and number == len(path)
        if is_callers and isinstance(part, str) and not is_missing:
            if not isinstance(value, dict) or part not in value:
                continue
            value = value[part]
        elif is_callers and isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
        else:
            is_callers = False
        fields.append(part)
    return fields


def _path(under: str, fields: list[int | str]) -> str:
    path = ".".join([under, *map(str, fields)] if under else map(str, fields))
    return path if len(path) <= MAX_PATH_CHARACTERS else path[:MAX_PATH_CHARACTERS] + "…"
