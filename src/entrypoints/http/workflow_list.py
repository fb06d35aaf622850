"""What ``GET /workflows`` tells of each workflow: where it is, what it takes and gives."""

from typing import Any

from domain.requests import LLMRequest
from domain.runner import WorkflowRunner
from entrypoints.container import DEFAULT_WORKFLOW_NAME


def workflow_content(runner: WorkflowRunner) -> dict[str, Any]:
    """Return one workflow as JSON."""
    workflow = runner.workflow
    is_default = runner.name == DEFAULT_WORKFLOW_NAME
    return {
        "name": runner.name,
        "path": "/service_output" if is_default else f"/workflows/{runner.name}/service_output",
        "takes": workflow.request_type.__name__,
        "is_conversation": workflow.request_type is LLMRequest,
        "streams": workflow.streams_pieces,
        "proofs": _proofs(runner),
    }


def _proofs(runner: WorkflowRunner) -> str:
    if not runner.has_proofs:
        return "never"
    return "always" if runner.workflow.proves(is_required=False) else "on_request"
