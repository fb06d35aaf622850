"""What a node of 1.4 asks at ``/service-resources``.

In the words of infernet-ml (infernet_ml.utils.spec, 2.0.0).
"""

import os
import platform
import shutil
from typing import Any

from domain.generation import ModelDescription

SPEC_VERSION = "0.1.0"


def service_resources(service_id: str, model: ModelDescription, *, proves: bool) -> dict[str, Any]:
    """Return hardware and abilities of the service."""
    disk = shutil.disk_usage("/")
    hardware = {
        "capability_id": "base",
        "os_info": {"name": platform.system(), "version": platform.version()},
        "cpu_info": {"model": platform.machine(), "cores": os.cpu_count()},
        "disk_info": [{"mount_point": "/", "size": disk.total, "used": disk.used, "available": disk.free}],
    }
    language_model = {
        "id": "ml",
        "type": "onnx" if model.provider is not None else "remote",
        "task": ["text_generation"],
        "models": [model.model_id],
        "provider": model.provider,
    }
    return {
        "version": SPEC_VERSION,
        "service_id": service_id,
        "hardware_capabilities": [hardware],
        "compute_capability": [language_model, *([{"id": "zk", "type": "ezkl"}] if proves else [])],
    }


def supports_model(model: ModelDescription, model_id: str) -> bool:
    """Tell whether this is the model served, with or without the name of where it is kept."""
    return model_id.removeprefix("huggingface/") == model.model_id
