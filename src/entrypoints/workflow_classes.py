"""Finds the workflow class that the settings name, checks it, and constructs it.

Each thing that can be wrong with it is a ``ConfigurationError`` of its own words.
"""

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

from adapters.infernet import PredecessorWorkflow, is_predecessor
from adapters.settings import WorkflowSettings
from domain.errors import ConfigurationError
from domain.workflow import LLMInferenceWorkflow


def construct_workflow(settings: WorkflowSettings) -> LLMInferenceWorkflow:
    """Import the class and call it with the arguments of the settings.

    Raises:
        ConfigurationError: the module or class is missing, is no workflow, or refuses its arguments.
    """
    workflow_class = find_workflow_class(settings.class_path)
    try:
        workflow = workflow_class(*settings.args, **settings.kwargs)
    except Exception as error:
        raise ConfigurationError(
            f"the workflow class {settings.class_path} could not be constructed with its "
            f"{len(settings.args)} positional and {len(settings.kwargs)} keyword arguments: "
            f"{type(error).__name__}: {error}",
        ) from error
    return workflow if isinstance(workflow, LLMInferenceWorkflow) else PredecessorWorkflow(workflow)


def find_workflow_class(class_path: str) -> type[Any]:
    """Import ``package.module.ClassName`` and check that it is a workflow, or the predecessor's kind of one.

    Raises:
        ConfigurationError: it is not.
    """
    module_name, _, class_name = class_path.rpartition(".")
    if not module_name or not class_name.isidentifier():
        raise ConfigurationError(
            f"the workflow class {class_path!r} must be a module and a class, like my_module.MyWorkflow",
        )
    candidate: Any = getattr(_import(module_name, class_path), class_name, None)
    if candidate is None:
        raise ConfigurationError(f"the module {module_name} has no class {class_name}")
    is_class = isinstance(candidate, type)
    if not is_class or not (issubclass(candidate, LLMInferenceWorkflow) or is_predecessor(candidate)):
        raise ConfigurationError(
            f"{class_path} is not a subclass of domain.workflow.LLMInferenceWorkflow",
        )
    workflow_class: type[Any] = candidate
    return workflow_class


def code_digest(*classes: type) -> str:
    """Return a hash of the files that classes and their bases are written in; Python's own are left out."""
    modules = {base.__module__ for own in classes for base in own.__mro__}
    digest = hashlib.sha256()
    for name in sorted(modules):
        file = getattr(sys.modules.get(name), "__file__", None)
        if name.partition(".")[0] not in sys.stdlib_module_names and file is not None:
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _import(module_name: str, class_path: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"the module {module_name} of the workflow class {class_path} was not found: "
                "is its folder on PYTHONPATH, or the working directory?",
            ) from error
        raise ConfigurationError(
            f"the module {module_name} needs the module {error.name}, which is not installed",
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"the module {module_name} cannot be imported: {type(error).__name__}: {error}",
        ) from error
