"""Claims: the same answer each time, never two owners, given back with the row."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.engine.claims import Runs, numbers
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Context

from .toy import Sorairo

NAMES = [f"n{i}" for i in range(10)]


async def context(sorairo: Sorairo, name: str) -> Context:
    found = sorairo.get(name) or await sorairo.made(name)
    return sorairo.control.loop.context(found)


async def test_the_first_free_are_taken_and_stay(sorairo: Sorairo) -> None:
    a, b = await context(sorairo, "a"), await context(sorairo, "b")
    assert await a.claim("pool", NAMES, 2) == ("n0", "n1")
    assert await b.claim("pool", NAMES) == ("n2",)
    assert await a.claim("pool", NAMES, 2) == ("n0", "n1")
    assert await a.claim("pool", NAMES, 3) == ("n0", "n1", "n3")
    assert await a.claim("another", NAMES) == ("n0",)


async def test_they_outlive_a_restart_and_go_with_the_row(sorairo: Sorairo) -> None:
    await (await context(sorairo, "a")).claim("pool", NAMES, 3)
    await sorairo.restart()
    assert await (await context(sorairo, "b")).claim("pool", NAMES) == ("n3",)
    await sorairo.ended(await sorairo.delete("a"))
    assert await (await context(sorairo, "c")).claim("pool", NAMES, 2) == ("n0", "n1")
    assert sorairo.store.notes("claim pool") == [
        (sorairo.id("b").lower(), {"values": ["n3"]}),
        (sorairo.id("c").lower(), {"values": ["n0", "n1"]}),
    ]


async def test_when_there_are_too_few_none_is_taken(sorairo: Sorairo) -> None:
    a, b = await context(sorairo, "a"), await context(sorairo, "b")
    await a.claim("pool", NAMES, 8)
    with pytest.raises(ArmError) as refused:
        await b.claim("pool", NAMES, 3)
    assert refused.value.code == "PoolExhausted"
    assert await b.claim("pool", NAMES, 2) == ("n8", "n9")


async def test_nobody_gets_what_another_gets_at_the_same_time(sorairo: Sorairo) -> None:
    contexts = [await context(sorairo, f"t{n}") for n in range(30)]
    many = [str(n) for n in range(100)]
    found = await asyncio.gather(*(c.claim("pool", many, 3) for c in contexts))
    assert len({v for values in found for v in values}) == 90
    runs = await asyncio.gather(*(c.claim_numbers("numbers", range(1000), 31) for c in contexts))
    assert len({n for each in runs for n in each}) == 930
    assert all(each == tuple(range(each[0], each[0] + 31)) for each in runs)


async def test_numbers_as_names(sorairo: Sorairo) -> None:
    a, b, c = [await context(sorairo, n) for n in "abc"]
    within = range(4, 255)
    assert await a.claim_numbers("subnet", within, 3) == (4, 5, 6)
    assert await b.claim_numbers("subnet", within, 1, exactly=[9]) == (4 + 3,)
    assert await a.claim_numbers("subnet", within, 3) == (4, 5, 6)
    assert await a.claim_numbers("subnet", within, 5) == (4, 5, 6, 10, 11), "what follows one another, if need be later"
    with pytest.raises(ArmError, match="taken"):
        await c.claim_numbers("subnet", within, 0, exactly=[9])
    assert await c.claim_numbers("subnet", within, 0, exactly=[8]) == ()
    await sorairo.restart()
    assert await (await context(sorairo, "d")).claim_numbers("subnet", within, 2) == (12, 13)
    await sorairo.ended(await sorairo.delete("a"))
    assert await (await context(sorairo, "e")).claim_numbers("subnet", within, 4) == (14, 15, 16, 17)
    assert await (await context(sorairo, "f")).claim_numbers("subnet", within, 3) == (4, 5, 6)


async def test_what_goes_with_a_claim_is_stored_with_it(sorairo: Sorairo) -> None:
    a = await context(sorairo, "a")
    await a.claim_numbers("subnet", range(10), 2, then=lambda numbers: {"addresses": list(numbers)})
    found = sorairo.get("a")
    assert found
    assert found.private["addresses"] == [0, 1]


async def test_blocks_are_prefixes(sorairo: Sorairo) -> None:
    within = range(4, 255)
    blocks = [await (await context(sorairo, n)).claim_numbers("s", within, 31, blocks=True) for n in "abc"]
    assert [(b[0], b[-1]) for b in blocks] == [(32, 62), (64, 94), (96, 126)]
    single = await (await context(sorairo, "d")).claim_numbers("s", within, 1, blocks=True)
    assert single == (4,)


# --- the set of runs -----------------------------------------------------------------------------------------

RUN = st.tuples(st.integers(0, 200), st.integers(0, 20)).map(lambda t: (t[0], t[0] + t[1]))


@given(st.lists(RUN, max_size=20))
def test_runs_are_a_set_of_numbers(runs: list[tuple[int, int]]) -> None:
    model = {n for first, last in runs for n in range(first, last + 1)}
    taken = Runs(runs)
    assert set(numbers(taken)) == model
    assert [n for n in range(-5, 240) if n in taken] == sorted(model)
    kept = list(taken)
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(kept)), "touching runs are one"
    assert set(numbers(taken.gaps((10, 150)))) == set(range(10, 151)) - model


@given(st.lists(RUN, max_size=20), st.integers(0, 64), st.booleans())
def test_what_is_free_is_free(runs: list[tuple[int, int]], count: int, blocks: bool) -> None:
    model = {n for first, last in runs for n in range(first, last + 1)}
    found = Runs(runs).free((4, 250), count, blocks=blocks)
    chosen = numbers(found)[:count]
    free = [n for n in range(4, 251) if n not in model]
    assert not model & set(numbers(found))
    assert set(numbers(found)) <= set(range(4, 251))
    assert len(chosen) == min(count, len(free))
    if len(found) > 1:
        assert chosen == free[:count], "in pieces only when there is no other way, and then the lowest"
    if blocks and len(found) == 1 and count:
        network = ipaddress.IPv4Address(found[0][0])
        size = found[0][1] - found[0][0] + 1
        if size & (size - 1) == 0 and int(network) % size == 0:
            assert size < 2 * count
