"""Fixed prompt sets, made in code: the same name, seed and count give the same conversations everywhere.

Imports nothing outside the standard library, so that peers in environments of their own read it too. Lengths
are those of SmolLM2's tokenizer without the chat template, and near: texts of plain words in plain sentences.
"""

import random
from collections.abc import Callable

Message = dict[str, str]
Conversation = list[Message]

_ADJECTIVES = [
    "old",
    "small",
    "red",
    "quiet",
    "bright",
    "heavy",
    "clever",
    "narrow",
    "gentle",
    "distant",
    "golden",
    "broken",
    "early",
    "simple",
]
_NOUNS = [
    "river",
    "house",
    "garden",
    "teacher",
    "machine",
    "winter",
    "market",
    "letter",
    "bridge",
    "doctor",
    "forest",
    "window",
    "captain",
    "village",
    "engine",
    "mountain",
    "student",
    "island",
    "kitchen",
    "song",
]
_VERBS = [
    "found",
    "carried",
    "watched",
    "painted",
    "visited",
    "repaired",
    "followed",
    "remembered",
    "left",
    "opened",
]
_PLACES = ["near", "behind", "under", "beside", "beyond", "inside", "above", "around"]
_TOPICS = [
    "bread",
    "trees",
    "ships",
    "clocks",
    "bees",
    "rivers",
    "volcanoes",
    "bridges",
    "maps",
    "glass",
    "salt",
    "paper",
    "music",
    "trains",
    "gardens",
    "wool",
    "lighthouses",
    "wells",
    "mirrors",
    "rain",
]
_ASPECTS = ["made", "used", "traded", "repaired", "drawn", "named", "measured", "stored", "taught", "shared"]

SYSTEM_SENTENCES = 29
"""About 500 tokens."""
LONG_SENTENCES = 23
"""About 405 tokens with the question."""
HISTORY_SENTENCES = 46
"""About 800 tokens."""
COPY_SENTENCES = 4


def _sentence(chance: random.Random) -> str:
    adjective, other = chance.sample(_ADJECTIVES, 2)
    noun, second, third = chance.sample(_NOUNS, 3)
    return (
        f"The {adjective} {noun} {chance.choice(_VERBS)} the {other} {second} "
        f"{chance.choice(_PLACES)} the {third} at {chance.randint(1, 12)} o'clock."
    )


def text_of(num_sentences: int, chance: random.Random) -> str:
    """Return a text of plain sentences, about 17 tokens each."""
    return " ".join(_sentence(chance) for _ in range(num_sentences))


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def question(chance: random.Random) -> str:
    """Return a question of about 25 tokens."""
    topic, other = chance.sample(_TOPICS, 2)
    reader = f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
    return (
        f"Explain to a {reader} in {chance.randint(50, 99)} words, "
        f"with an example, how {topic} and {other} are {chance.choice(_ASPECTS)}."
    )


def short(chance: random.Random, _: int) -> Conversation:
    """A question."""
    return [_user(question(chance))]


def long(chance: random.Random, _: int) -> Conversation:
    """A text, and what to do with it."""
    return [_user(f"{text_of(LONG_SENTENCES, chance)} Tell what happened.")]


def mixed(chance: random.Random, index: int) -> Conversation:
    """Short and long by turns."""
    return (short if index % 2 else long)(chance, index)


def shared_prefix(chance: random.Random, _: int) -> Conversation:
    """A question of its own behind a system prompt that all have."""
    system = text_of(SYSTEM_SENTENCES, random.Random("system"))  # noqa: S311 - repeatable, not secret
    return [{"role": "system", "content": system}, _user(question(chance))]


def conversation(chance: random.Random, _: int) -> Conversation:
    """The second turn after a long first one."""
    first = f"{text_of(HISTORY_SENTENCES, chance)} Tell what happened."
    answer = {"role": "assistant", "content": text_of(2, chance)}
    return [_user(first), answer, _user(question(chance))]


def copy(chance: random.Random, _: int) -> Conversation:
    """An edit, whose answer repeats most of the text."""
    noun = chance.choice(_NOUNS)
    text = text_of(COPY_SENTENCES, chance)
    return [_user(f"Repeat this text word for word, only write THE for every The ({noun}):\n\n{text}")]


PROMPT_SETS: dict[str, Callable[[random.Random, int], Conversation]] = {
    "short": short,
    "long": long,
    "mixed": mixed,
    "shared_prefix": shared_prefix,
    "conversation": conversation,
    "copy": copy,
}


def conversations(name: str, count: int, seed: int | str) -> list[Conversation]:
    """Return ``count`` conversations of a set; another seed gives others.

    Raises:
        KeyError: there is no such set.
    """
    chance = random.Random(f"{name} {seed}")  # noqa: S311 - repeatable, not secret
    return [PROMPT_SETS[name](chance, index) for index in range(count)]


def answer_lengths(least: int, most: int, count: int, seed: int | str) -> list[int]:
    """Return how many tokens each of ``count`` answers is to have: drawn evenly, ``least`` to ``most``."""
    chance = random.Random(f"lengths {seed}")  # noqa: S311 - repeatable, not secret
    return [chance.randint(least, most) for _ in range(count)]
