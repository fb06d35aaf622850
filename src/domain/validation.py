"""From pydantic's validation errors to ours: the field's path and the reason, without the value."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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
            *(FieldProblem(_path(under, detail["loc"]), detail["msg"]) for detail in details[:MAX_PROBLEMS]),
        ) from error


def _path(under: str, location: tuple[int | str, ...]) -> str:
    path = ".".join([under, *map(str, location)] if under else map(str, location))
    return path if len(path) <= MAX_PATH_CHARACTERS else path[:MAX_PATH_CHARACTERS] + "…"
