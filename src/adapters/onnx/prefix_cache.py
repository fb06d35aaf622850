"""Which prefixes of earlier prompts and answers are kept: an index over blocks of the KV cache.

Tokens are cut into blocks of a fixed length. A block is found by its tokens and the block before it, so that
a chain of blocks is one exact prefix. Blocks that were used longest ago make room for new ones; a chain loses
its end first.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

BLOCK_TOKENS = 32

_Key: TypeAlias = tuple[int, tuple[int, ...]]
_ROOT = -1


@dataclass(frozen=True, slots=True)
class NewBlocks:
    """Blocks to be filled with a sequence's keys and values.

    ``block_ids[i]`` takes the tokens from ``(first + i) * BLOCK_TOKENS`` on.
    """

    first: int
    block_ids: list[int]


class PrefixCache:
    """The index.

    Args:
        num_blocks: blocks that there is memory for; 0 keeps nothing.
    """

    def __init__(self, num_blocks: int) -> None:
        self._free = list(range(num_blocks))
        self._blocks: OrderedDict[_Key, int] = OrderedDict()
        """By last use, the earliest first; a block is always used after those behind it in its chain."""

    def match(self, token_ids: list[int]) -> list[int]:
        """Return the blocks of the longest kept prefix; two tokens of the prompt are left over, or more.

        One would do, but a pass of one token rounds otherwise than one of several: the answer would depend on
        what is kept.
        """
        chain = self._chain(token_ids, max(0, len(token_ids) - 2) // BLOCK_TOKENS)
        self._touch(chain)
        return [self._blocks[key] for key in chain]

    def store(self, token_ids: list[int]) -> NewBlocks:
        """Keep a prefix; returns the blocks that have to be filled for it, fewer where there is no room."""
        num_blocks = len(token_ids) // BLOCK_TOKENS
        chain = self._chain(token_ids, num_blocks)
        self._touch(chain)
        first, new_ids = len(chain), []
        parent = self._blocks[chain[-1]] if chain else _ROOT
        for index in range(first, num_blocks):
            if not self._free and not self._evict(set(chain)):
                break
            block_id = self._free.pop()
            key = parent, _block(token_ids, index)
            self._blocks[key] = block_id
            chain.append(key)
            new_ids.append(block_id)
            parent = block_id
        self._touch(chain)
        return NewBlocks(first, new_ids)

    def _chain(self, token_ids: list[int], num_blocks: int) -> list[_Key]:
        chain: list[_Key] = []
        parent = _ROOT
        for index in range(num_blocks):
            key = parent, _block(token_ids, index)
            if key not in self._blocks:
                break
            parent = self._blocks[key]
            chain.append(key)
        return chain

    def _touch(self, chain: list[_Key]) -> None:
        for key in reversed(chain):
            self._blocks.move_to_end(key)

    def _evict(self, kept: set[_Key]) -> bool:
        """Free the block that was used longest ago; False where there is none but the kept ones."""
        key = next(iter(self._blocks), None)
        if key is None or key in kept:
            return False
        self._free.append(self._blocks.pop(key))
        return True


def _block(token_ids: list[int], index: int) -> tuple[int, ...]:
    return tuple(token_ids[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS])
