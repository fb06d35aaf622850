"""What both engines are asked: questions whose greedy answers are longer than the benchmark runs."""

PROMPTS = (
    "Write a long story about a lighthouse keeper who finds a letter.",
    "Explain step by step how bread is made, in great detail.",
    "List the planets of the solar system and describe each in a paragraph.",
)
NUM_TOKENS = 160
