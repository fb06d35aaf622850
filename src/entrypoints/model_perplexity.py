"""``model perplexity``: prints how well a model folder predicts two fixed texts."""

from pathlib import Path

from adapters.onnx.perplexity import compare, measure_perplexity


def print_perplexity(folder: Path, reference: Path | None) -> None:
    """Print a line a text; with a reference, its figures and the difference too.

    Raises:
        ConfigurationError: a folder cannot be loaded.
    """
    if reference is None:
        for text in measure_perplexity(folder):
            print(f"{text.name:10} {text.num_tokens:5} tokens  perplexity {text.perplexity:8.3f}")
        return
    for pair in compare(folder, reference):
        change = pair.perplexity / pair.reference_perplexity - 1
        print(
            f"{pair.name:10} {pair.num_tokens:5} tokens  perplexity {pair.perplexity:8.3f}  "
            f"reference {pair.reference_perplexity:8.3f}  change {change:+.2%}  "
            f"top-1 agreement {pair.top1_agreement:.1%}",
        )
