"""Which token ids end a reply; plain Python, for every exporter."""

from __future__ import annotations

from collections.abc import Iterable


def producible(ids: Iterable[int], vocabulary: int) -> list[int]:
    """Return the ids that a model can produce at all, each once, in order.

    Args:
        ids: as configurations name them; those of CL-34B and SC2-7B have some past the embedding.
        vocabulary: rows of the embedding.
    """
    return sorted({i for i in ids if 0 <= i < vocabulary})
