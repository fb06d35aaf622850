"""Graphs on a model's weights for further kinds of passes: a chunk beside rows, and guesses to verify."""

from pathlib import Path

from adapters.onnx.builder.beside_form import BesideForm
from adapters.onnx.builder.derived_graph import AttentionForm, derive
from adapters.onnx.builder.prepacking import prepack
from adapters.onnx.builder.verify_form import VerifyForm
from adapters.onnx.model_folder import BESIDE_FILE, VERIFY_FILE
from adapters.onnx.prompt_lookup import DRAFT_LENGTHS


def write_pass_graphs(model_file: Path, data_file: Path) -> None:
    """Write the graphs beside the model, which refers to laid-out weights from then on, as they do.

    Args:
        model_file: as ``write_decoder`` left it.
        data_file: its weights; grows by those that are laid out.
    """
    model = prepack(model_file, data_file)
    forms: dict[str, AttentionForm] = {BESIDE_FILE: BesideForm()}
    for num_tokens in (length + 1 for length in DRAFT_LENGTHS):
        forms[VERIFY_FILE % num_tokens] = VerifyForm(num_tokens)
    for name, form in forms.items():
        (model_file.parent / name).write_bytes(derive(model, form).SerializeToString())
