"""Which numbers of a pool are taken, kept as unbroken runs: a thousand machines' addresses are a handful of these."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""First and last number, both taken."""


class Runs:
    """A set of numbers. Runs that touch become one."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in runs:
            self.add(first, last)

    def __iter__(self) -> Iterator[Run]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def add(self, first: int, last: int) -> None:
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def gaps(self, within: Run) -> Iterator[Run]:
        """What is free, in order."""
        at, end = within
        for n in range(bisect_left(self._lasts, at), len(self._firsts)):
            if self._firsts[n] > end:
                break
            if at < self._firsts[n]:
                yield at, self._firsts[n] - 1
            at = max(at, self._lasts[n] + 1)
        if at <= end:
            yield at, end

    def free(self, within: Run, count: int, *, blocks: bool = False) -> list[Run]:
        """`count` free numbers, in order, or fewer when there are not as many.

        In one run where one is long enough, the first. With `blocks`, the first free block that holds them, of a power
        of two and beginning at a multiple of it, as a network prefix does: more than `count`, so that what is taken
        stays unbroken. Otherwise the lowest ones there are.
        """
        if count <= 0:
            return []
        size = 1 << (count - 1).bit_length()
        broken: list[Run] = []
        whole: int | None = None
        for first, last in self.gaps(within):
            if blocks and (start := -(-first // size) * size) + size - 1 <= last:
                return [(start, start + size - 1)]
            if whole is None and last - first + 1 >= count:
                whole = first
                if not blocks:
                    break
            missing = count - sum(b - a + 1 for a, b in broken) if len(broken) < count else 0
            if whole is None and missing > 0:
                broken.append((first, min(last, first + missing - 1)))
        return [(whole, whole + count - 1)] if whole is not None else broken


def numbers(runs: Iterable[Run]) -> list[int]:
    return [n for first, last in runs for n in range(first, last + 1)]
