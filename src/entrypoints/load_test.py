"""Asks a text generator from several callers for a while, and tells how fast the answers came."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from domain.errors import ServiceError
from domain.generation import SamplingParameters
from domain.messages import ChatMessage, Prompt
from domain.ports import TextGenerator

REFUSED_PAUSE_S = 0.05


@dataclass(slots=True)
class LoadFigures:
    """What came of so many callers; times in seconds."""

    num_callers: int
    duration_s: float = 0.0
    """From the first request to the last answer."""
    num_answers: int = 0
    num_errors: int = 0
    num_tokens: int = 0
    """Of answers, as the server counts them."""
    first_piece_s: list[float] = field(default_factory=list)
    """From each request to the first piece of its answer."""
    answer_s: list[float] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.duration_s if self.duration_s else 0.0


def percentile_s(values_s: list[float], percent: int) -> float:
    """Return the least of some times that so many per cent do not exceed; 0 where there are none."""
    ordered_s = sorted(values_s)
    return ordered_s[math.ceil(len(ordered_s) * percent / 100) - 1] if ordered_s else 0.0


async def measured(
    generator: TextGenerator,
    num_callers: int,
    duration_s: float,
    max_tokens: int,
    told: Callable[[LoadFigures], None],
) -> LoadFigures:
    """Let callers ask, each again as soon as it has its answer, until the time is over.

    Args:
        generator: open.
        num_callers: at once.
        duration_s: after which nobody asks again.
        max_tokens: of each answer.
        told: of the figures so far, at each answer.
    """
    figures = LoadFigures(num_callers)
    began_s = time.monotonic()
    parameters = SamplingParameters(max_tokens=max_tokens)

    async def call(caller: int) -> None:
        number = 0
        while time.monotonic() - began_s < duration_s:
            number += 1
            # different from its first words on, so that no prompt was read before
            text = f"{caller}.{number}: write a short story about the number {caller * 1000 + number}."
            await _ask(generator, Prompt([ChatMessage("user", text)], parameters), figures)
            figures.duration_s = time.monotonic() - began_s
            told(figures)

    await asyncio.gather(*(call(caller) for caller in range(num_callers)))
    return figures


async def _ask(generator: TextGenerator, prompt: Prompt, figures: LoadFigures) -> None:
    asked_s = time.monotonic()
    has_begun = False
    try:
        async for chunk in generator.generate(prompt):
            if not has_begun:
                has_begun = True
                figures.first_piece_s.append(time.monotonic() - asked_s)
            if chunk.usage is not None:
                figures.num_tokens += chunk.usage.num_completion_tokens
    except ServiceError:
        figures.num_errors += 1
        await asyncio.sleep(REFUSED_PAUSE_S)
        return
    figures.num_answers += 1
    figures.answer_s.append(time.monotonic() - asked_s)
