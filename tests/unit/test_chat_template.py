"""A model's own chat template."""

import json
from pathlib import Path

import pytest

from adapters.onnx.chat_template import ChatTemplate, read_chat_template
from domain.errors import ConfigurationError, InvalidRequestError
from domain.messages import ChatMessage

MESSAGES = [ChatMessage("system", "be brief"), ChatMessage("user", "hï")]
SIMPLE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}>{% endif %}"
)


def test_messages_are_rendered_ready_for_the_answer() -> None:
    assert ChatTemplate(SIMPLE, {}).render(MESSAGES) == "<system>be brief<user>hï>"


def test_what_the_ecosystem_gives_templates_is_there() -> None:
    source = (
        "{{ bos_token }}{{ messages | tojson }}{{ strftime_now('%Y')|length }}"
        "{% for m in messages %}{% break %}{% endfor %}"
    )

    assert ChatTemplate(source, {"bos_token": "<s>"}).render(MESSAGES[1:]) == (
        '<s>[{"role": "user", "content": "hï"}]4'
    )


def test_a_template_may_refuse_a_conversation() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})

    with pytest.raises(InvalidRequestError, match="roles must alternate"):
        template.render(MESSAGES)


@pytest.mark.parametrize(
    "source", ["{{ messages.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}"]
)
def test_a_template_cannot_reach_out_of_its_sandbox(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        ChatTemplate(source, {}).render(MESSAGES)


def test_a_template_that_is_no_jinja_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="not valid Jinja"):
        ChatTemplate("{% for %}", {})


def test_the_template_file_goes_before_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "old", "bos_token": {"content": "<s>"}})
    )
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}new")

    assert read_chat_template(tmp_path).render(MESSAGES) == "<s>new"


def test_of_several_named_templates_the_default_is_taken(tmp_path: Path) -> None:
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "chat"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))

    assert read_chat_template(tmp_path).render(MESSAGES) == "chat"


@pytest.mark.parametrize("config", [None, "{}", "[]", "{"])
def test_a_model_without_a_template_stops_the_start(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(config)

    with pytest.raises(ConfigurationError):
        read_chat_template(tmp_path)
