"""Chunks of an input put together to batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from hitl_bridge.core.triage.arrivals import by_item, in_buckets
from hitl_bridge.ports import PredictionChunk


def batches_of(chunks: Iterable[PredictionChunk], rows: int, long_rows: int) -> Iterator[PredictionChunk]:
    """By rows read, so that the same input is always cut at the same places. No batch holds rows of two files.

    Args:
        rows: the length of a batch.
        long_rows: the same where the input is read column by column.
    """
    held: list[PredictionChunk] = []
    for chunk in chunks:
        if held and _kind(held[0]) != _kind(chunk):
            yield _joined(held)
            held = []
        held.append(chunk)
        if sum(each.read for each in held) >= (rows if chunk.whole is None else long_rows):
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _kind(chunk: PredictionChunk) -> tuple[str, bool]:
    return chunk.file, chunk.whole is None


def _joined(chunks: Sequence[PredictionChunk]) -> PredictionChunk:
    wholes = [chunk.whole for chunk in chunks if chunk.whole is not None]
    parts = [chunk.predictions for chunk in chunks]
    return PredictionChunk(
        predictions=in_buckets(parts) if wholes else by_item(pa.concat_tables(parts)),
        problems=tuple(problem for chunk in chunks for problem in chunk.problems),
        read=sum(chunk.read for chunk in chunks),
        file=chunks[0].file,
        whole=(lambda rows: pa.concat_tables([whole(rows) for whole in wholes])) if wholes else None,
    )
