"""What takes long before the first start: a model that is fetched, built or exported.

Done once, before several workers ask for it, and in a process of its own: the libraries it takes, torch above
all, would otherwise stay with the launcher.
"""

import multiprocessing
import signal
import sys

from adapters.settings import Backend, Settings
from domain.errors import ConfigurationError
from entrypoints.child_process import start
from entrypoints.model_source import is_prepared
from entrypoints.parent_watch import end_with_launcher
from entrypoints.start_failure import EXIT_CONFIGURATION, EXIT_INTERRUPTED, end_process


def prepare(settings: Settings) -> bool:
    """Make the model ready, unless it is or is served elsewhere.

    Returns:
        False where it cannot be, or there is no such workflow class, which the process has told.

    Raises:
        ConfigurationError: there is no such model, or the process was killed.
    """
    if settings.backend not in {Backend.ONNXRUNTIME, Backend.OPTIMUM}:
        return True
    if settings.backend is Backend.ONNXRUNTIME and is_prepared(settings):
        return True
    process = multiprocessing.get_context("spawn").Process(target=_prepare, args=(settings,))
    start(process)
    try:
        process.join()
    finally:
        process.kill()  # where this one is interrupted; what it leaves half made is made anew
        process.join()
    if process.exitcode not in {0, EXIT_CONFIGURATION}:
        why = "; is there enough memory?" if process.exitcode == -signal.SIGKILL else ""
        raise ConfigurationError(f"what makes the model ready ended with status {process.exitcode}{why}")
    return process.exitcode == 0


def _prepare(settings: Settings) -> None:
    end_with_launcher()  # before the imports, which take a second
    from adapters.onnx.builder import TqdmReporter  # noqa: PLC0415
    from entrypoints.model_export import prepare_export  # noqa: PLC0415
    from entrypoints.model_source import prepare_model  # noqa: PLC0415
    from entrypoints.workflow_classes import find_workflow_class  # noqa: PLC0415

    try:
        for workflow in (settings.default_workflow, *settings.workflows.values()):
            find_workflow_class(workflow.class_path)
        if settings.backend is Backend.OPTIMUM:
            prepare_export(settings, TqdmReporter())
        else:
            prepare_model(settings, TqdmReporter())
    except ConfigurationError as error:
        end_process(error)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)  # without a traceback: the launcher was told too
