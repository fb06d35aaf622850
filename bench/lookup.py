"""What guessing by prompt lookup saves one caller, and that it changes no answer but at near-ties.

Usage: python -m bench.lookup [--rounds 4] [--requests 6] [--quick]
"""

from bench import models
from bench.figures import paired_ratio, spread, verdict
from bench.likelihood import NEAR_TIE, Judge
from bench.load import Load
from bench.options import round_options
from bench.prompt_sets import Conversation, conversations
from bench.targets import awake, service, started

BARS = {"copy": 1.3, "short": 0.97, "long": 0.97}


def main() -> None:
    """Print the ratio on each set, and where answers part."""
    options = round_options(__doc__, requests=6)
    guessing, plain = service("lookup on"), service("lookup off", LLM_LOOKUP_TOKENS="0")
    answered: list[tuple[Conversation, str, str]] = []
    with started(guessing), started(plain):
        for server in (guessing, plain):
            server.run(Load("short", 2, num_callers=1, seed="warm-up", max_tokens=8))
            server.pause()
        for prompt_set, bar in BARS.items():
            rates: dict[str, list[float]] = {guessing.name: [], plain.name: []}
            for number in range(options.rounds):
                load = Load(prompt_set, options.requests, num_callers=1, seed=str(number))
                texts = {}
                for server in (guessing, plain) if number % 2 else (plain, guessing):
                    with awake(server):
                        figures, texts[server.name] = server.run(load)
                    rates[server.name].append(figures.tokens_per_s)
                asked = conversations(prompt_set, options.requests, load.seed)
                answered += zip(asked, texts[guessing.name], texts[plain.name], strict=True)
            ratio = paired_ratio(rates[guessing.name], rates[plain.name])
            print(
                f"{prompt_set:6} {spread(rates[guessing.name]).shown()} tok/s, without lookup "
                f"{spread(rates[plain.name]).shown()}, ratio {ratio.shown(2)} {verdict(ratio.median, bar)}",
                flush=True,
            )
    judge = Judge(models.served_folder())
    gaps = [gap for entry in answered if (gap := judge.parting_gap(*entry)) is not None]
    num_wide = sum(gap >= NEAR_TIE for gap in gaps)
    widest = f", the widest gap {max(gaps):.4f}" if gaps else ""
    print(
        f"answers: {len(gaps)} of {len(answered)} part, {num_wide} of them at no near-tie "
        f"(logits {NEAR_TIE:g} apart or more){widest}"
    )


if __name__ == "__main__":
    main()
