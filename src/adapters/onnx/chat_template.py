"""Renders a conversation to the text the model was trained on, with the model's own Jinja template.

The environment is that of Hugging Face transformers (``render_jinja_template``): sandboxed, with
``raise_exception``, ``strftime_now`` and a ``tojson`` that leaves non-ASCII characters alone.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from domain.errors import ConfigurationError, FieldProblem, InvalidRequestError
from domain.messages import ChatMessage

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


class ChatTemplate:
    """A model's chat template.

    Args:
        source: the Jinja text.
        special_tokens: what the template may name, e.g. ``{"bos_token": "<s>"}``.

    Raises:
        ConfigurationError: the template is not Jinja.
    """

    def __init__(self, source: str, special_tokens: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ConfigurationError(f"the model's chat template is not valid Jinja: {error}") from error
        self._special_tokens = special_tokens

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """Return the prompt's text, ready for the assistant's answer.

        Raises:
            InvalidRequestError: the template refuses the messages (roles it does not know, or their order).
        """
        try:
            return self._template.render(
                messages=[{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except TemplateError as error:
            reason = f"the model's chat template refuses the conversation: {error}"
            raise InvalidRequestError(FieldProblem("data.history", reason)) from error


def read_chat_template(folder: Path) -> ChatTemplate:
    """Read ``chat_template.jinja``, or ``chat_template`` of ``tokenizer_config.json``.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    config = _read_config(folder / "tokenizer_config.json")
    special_tokens = {
        name: text for name in SPECIAL_TOKEN_NAMES if (text := _token_text(config.get(name))) is not None
    }
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        return ChatTemplate(template_file.read_text(encoding="utf-8"), special_tokens)
    source = config.get("chat_template")
    if isinstance(source, list):  # several named templates
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    if not isinstance(source, str):
        raise ConfigurationError(
            f"{folder} has no chat template: put the model's into chat_template.jinja "
            "(a base model has none; choose its instruct variant)",
        )
    return ChatTemplate(source, special_tokens)


def _read_config(config_file: Path) -> dict[str, Any]:
    if not config_file.is_file():
        return {}
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{config_file} is not JSON") from error
    return config if isinstance(config, dict) else {}


def _token_text(token: Any) -> str | None:
    match token:
        case {"content": str(text)}:
            return text
        case str():
            return token
        case _:
            return None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
