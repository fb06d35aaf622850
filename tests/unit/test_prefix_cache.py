"""Kept prefixes against a plain model of them: what is found is exact, and never more than was kept."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.onnx.prefix_cache import BLOCK_TOKENS, PrefixCache

tokens = st.lists(st.integers(0, 1), max_size=5).map(
    lambda blocks: [block for block in blocks for _ in range(BLOCK_TOKENS)] + [7] * 3
)


@given(requests=st.lists(st.tuples(st.booleans(), tokens), max_size=40), num_blocks=st.integers(0, 6))
def test_blocks_hold_what_the_matched_prefix_says(
    requests: list[tuple[bool, list[int]]], num_blocks: int
) -> None:
    cache = PrefixCache(num_blocks)
    contents: dict[int, list[int]] = {}
    for is_stored, token_ids in requests:
        if is_stored:
            new = cache.store(token_ids)
            for index, block_id in enumerate(new.block_ids, new.first):
                # keys and values depend on all tokens before them
                contents[block_id] = token_ids[: (index + 1) * BLOCK_TOKENS]
        else:
            block_ids = cache.match(token_ids)
            assert len(block_ids) * BLOCK_TOKENS < max(len(token_ids), 1)
            for index, block_id in enumerate(block_ids):
                assert contents[block_id] == token_ids[: (index + 1) * BLOCK_TOKENS]
        assert set(contents) <= set(range(num_blocks))


def block(number: int) -> list[int]:
    return [number] * BLOCK_TOKENS


def test_what_was_stored_is_found_by_its_longest_beginning() -> None:
    cache = PrefixCache(8)
    cache.store([*block(1), *block(2), *block(3)])

    assert len(cache.match([*block(1), *block(2), *block(9)])) == 2
    assert len(cache.match([*block(1), *block(2), *block(3)])) == 2  # two tokens are left to be read
    assert len(cache.match([*block(2), 5])) == 0


def test_what_was_used_longest_ago_makes_room_and_a_chain_loses_its_end_first() -> None:
    cache = PrefixCache(4)
    cache.store([*block(1), *block(2)])
    cache.store([*block(3), *block(4)])
    cache.match([*block(1), *block(2), 0, 0])

    cache.store(block(5))

    assert len(cache.match([*block(1), *block(2), 0, 0])) == 2
    assert len(cache.match([*block(3), *block(4), 0, 0])) == 1
    assert len(cache.match([*block(5), 0, 0])) == 1


def test_a_prefix_longer_than_the_cache_keeps_its_beginning() -> None:
    cache = PrefixCache(2)
    new = cache.store([*block(1), *block(2), *block(3)])

    assert (new.first, len(new.block_ids)) == (0, 2)
    assert len(cache.match([*block(1), *block(2), *block(3), 0, 0])) == 2


def test_a_part_that_is_there_is_not_stored_again() -> None:
    cache = PrefixCache(8)
    cache.store([*block(1), *block(2)])
    new = cache.store([*block(1), *block(2), *block(3), 4])

    assert (new.first, len(new.block_ids)) == (2, 1)
