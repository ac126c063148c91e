"""Histograms as the workers give them: (longest time of a bucket in ns, how many), ascending; 64 to a power of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

__all__ = ["Buckets", "merge", "quantile_ms", "quantiles_ms"]

Buckets: TypeAlias = Sequence[tuple[int, int]]


def merge(parts: Iterable[Buckets]) -> list[tuple[int, int]]:
    """One histogram of several, whose buckets have the same bounds."""
    counts: Counter[int] = Counter()
    for part in parts:
        for longest, count in part:
            counts[longest] += count
    return sorted(counts.items())


def quantile_ms(buckets: Buckets, part: float) -> float | None:
    """The time, ms, within which this part (0 to 1) of them lies; None if there are none."""
    total = sum(count for _, count in buckets)
    seen = 0
    for longest, count in buckets:
        seen += count
        if seen >= total * part and seen:
            return longest / 1e6
    return None


def quantiles_ms(buckets: Buckets) -> dict[str, float] | None:
    """Median, 99 % and 99.9 %, ms, as `--json` has them; None if there are none."""
    found = {name: quantile_ms(buckets, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
    return {name: round(value, 3) for name, value in found.items() if value is not None} or None
