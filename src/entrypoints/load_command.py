"""``bench URL``: a quick look at how fast a server answers, with what it does meanwhile and a plot."""

import argparse
import asyncio
import os
import sys
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from adapters.openai_http.generator import OpenAITextGenerator
from domain.errors import ConfigurationError, ServiceError
from entrypoints.load_test import LoadFigures, measured, percentile_s

TOKEN_VARIABLE = "LLM_BENCH_TOKEN"  # noqa: S105 - its name
PLOT_COLUMNS = 40
BAR_FORMAT = "{desc} |{bar}| {n:.0f}/{total:.0f} s"
HEADS = ("callers", "answers/s", "tokens/s", "first piece p50 / p95", "answer p50 / p95", "errors")


def run_bench_command(options: argparse.Namespace) -> int:
    """Measure, and print a table and a plot; returns 1 where nothing was answered.

    Raises:
        ConfigurationError: the URL is none, or no server answers there.
    """
    callers = _numbers(options.callers)
    url = options.url.rstrip("/")
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ConfigurationError(f"{url} is no http URL, such as http://127.0.0.1:4999")
    base_url = url if url.endswith("/v1") else f"{url}/v1"
    generator = OpenAITextGenerator(
        base_url=base_url, api_key=os.environ.get(TOKEN_VARIABLE), model=options.model, max_retries=0
    )
    figures = asyncio.run(_measured(generator, callers, options.seconds, options.tokens))
    print(shown(figures))
    return 0 if any(of_callers.num_answers for of_callers in figures) else 1


async def _measured(
    generator: OpenAITextGenerator, callers: list[int], duration_s: float, max_tokens: int
) -> list[LoadFigures]:
    await generator.open()
    try:
        try:
            await generator.ping()
        except ServiceError as error:
            raise ConfigurationError(f"the server cannot be measured: {error}") from error
        print(f"{generator.model.model_id}, answers of {max_tokens} tokens at most", file=sys.stderr)
        figures = []
        for num_callers in callers:
            with tqdm(total=duration_s, bar_format=BAR_FORMAT) as bar:
                figures.append(
                    await measured(generator, num_callers, duration_s, max_tokens, partial(_show, bar))
                )
        return figures
    finally:
        await generator.close()


def _show(bar: "tqdm[Any]", so_far: LoadFigures) -> None:
    bar.set_description_str(
        f"{so_far.num_callers} callers, {so_far.tokens_per_s:.0f} tokens/s", refresh=False
    )
    bar.n = min(so_far.duration_s, bar.total or 0.0)
    bar.refresh()


def shown(figures: list[LoadFigures]) -> str:
    """Return the table, and tokens a second over callers as bars."""
    rows = [HEADS, *(_row(of_callers) for of_callers in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    most = max((of_callers.tokens_per_s for of_callers in figures), default=0.0) or 1.0
    bars = [
        f"{of_callers.num_callers:7} "
        f"{'█' * max(1, round(of_callers.tokens_per_s / most * PLOT_COLUMNS))} {of_callers.tokens_per_s:.0f}"
        for of_callers in figures
    ]
    return "\n".join([*table, "", "callers tokens/s", *bars])


def _row(figures: LoadFigures) -> tuple[str, ...]:
    rate = figures.num_answers / figures.duration_s if figures.duration_s else 0.0
    return (
        str(figures.num_callers),
        f"{rate:.2f}",
        f"{figures.tokens_per_s:.0f}",
        _times(figures.first_piece_s),
        _times(figures.answer_s),
        str(figures.num_errors),
    )


def _times(values_s: list[float]) -> str:
    return f"{percentile_s(values_s, 50) * 1000:.0f} / {percentile_s(values_s, 95) * 1000:.0f} ms"


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigurationError(f"--callers {text}: should be numbers between commas, such as 1,4,16")
    return numbers
