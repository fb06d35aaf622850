"""The files in deploy/infernet fit the node, the service, and one another."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from adapters.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy" / "infernet"


class Container(BaseModel):
    """What a node of 1.4 reads of a container."""

    model_config = ConfigDict(extra="forbid")

    id: str
    image: str
    url: str = ""
    bearer: str = ""
    port: int = -1
    external: bool = True
    gpu: bool = False
    accepted_payments: dict[str, int] = {}
    allowed_ips: list[str] = []
    allowed_addresses: list[str] = []
    allowed_delegate_addresses: list[str] = []
    description: str = ""
    command: str = ""
    env: dict[str, Any] = {}
    generates_proofs: bool = False
    volumes: list[str] = []


@pytest.fixture
def containers() -> list[Container]:
    config = json.loads((DEPLOY / "config.json").read_text())
    return [Container.model_validate(container) for container in config["containers"]]


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=DEPLOY / "service.env")


def test_each_container_is_a_workflow_that_is_served(containers: list[Container], settings: Settings) -> None:
    for container in containers:
        base, _, name = container.url.partition("/workflows/")
        assert base == "http://llm:3000"
        assert not name or name in settings.workflows


def test_the_node_sends_a_token_that_the_service_takes(
    containers: list[Container], settings: Settings
) -> None:
    tokens = {token.token.get_secret_value() for token in settings.auth_tokens}

    assert {container.bearer for container in containers} == tokens


def test_the_container_that_proves_says_so(containers: list[Container], settings: Settings) -> None:
    assert [container.id for container in containers if container.generates_proofs] == ["summarizer"]
    assert str(settings.circuit) == "/circuit"
    compose = (DEPLOY / "compose.yaml").read_text()
    assert ":/circuit:ro" in compose
    assert ":/head:ro" in compose
