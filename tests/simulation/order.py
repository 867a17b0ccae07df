"""Whether the order of each partition key is kept, as its stream's ordering promises it, told from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.ordering import Ordering
from tests.simulation.promises import Rule

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from proxy.core.batch import Batch
    from tests.simulation.taken import Taken
    from tests.simulation.world import World


class Order:
    """The keys of one proxy.

    Args:
        world: of the run.

    `inversions` are those that the proxy must have counted: it has been told what failed and what did not.
    """

    def __init__(self, world: World) -> None:
        self._service = world.service
        self._promises = world.promises
        self._trace = world.trace
        self._youngest_written: dict[tuple[str, str], Taken] = {}
        self._last_sequence: dict[tuple[str, str], int] = {}
        self._answered: dict[Batch, None] = {}  # those whose results have arrived
        self.inversions = 0

    def of(self, taken: Taken) -> Ordering:
        """Return what a record is promised: nothing where it was taken for a stream that ignores keys."""
        return self._service.streams[taken.stream_name].shape.ordering if taken.kept else Ordering.NONE

    def check_keys(self, batch: Sequence[Taken], flying: Counter[str]) -> None:
        """Check that no key of a request is in another one, nor twice in this but as its ordering allows."""
        last: dict[str, Taken] = {}
        for taken in batch:
            ordering = self.of(taken)
            if ordering is Ordering.NONE:
                continue
            key = taken.record.partition_key
            if flying[key]:
                raise self._promises.note(Rule.KEY_TWICE, f"{key} of {taken}")
            before = last.get(key)
            if before is not None:
                if not ordering.runs or (ordering is Ordering.CALL and before.call != taken.call):
                    raise self._promises.note(Rule.KEY_TWICE, f"{key} in one request, order is {ordering.value}")
                if before.ordinal > taken.ordinal:
                    raise self._promises.note(Rule.ORDER, f"{taken} of key {key} behind a younger one")
            last[key] = taken

    def answered(self, batch: Batch) -> None:
        """Note that the results of a request have arrived, one for each record."""
        self._answered[batch] = None

    def written(self, taken: Taken) -> None:
        """Check a record that the service writes at this instant, for the first time."""
        ordering = self.of(taken)
        if ordering is Ordering.NONE:
            return
        younger = self._youngest_written.setdefault(taken.key, taken)
        if younger.ordinal <= taken.ordinal:
            self._youngest_written[taken.key] = taken
        else:
            self._overtaken(taken, younger, ordering)

    def _overtaken(self, taken: Taken, younger: Taken, ordering: Ordering) -> None:
        """Judge that a younger record has been written first: it may, if it failed in the same request before."""
        together = [batch for batch in taken.batches if batch in younger.batches]
        if not ordering.runs or not together or (ordering is Ordering.CALL and taken.call != younger.call):
            raise self._promises.note(Rule.ORDER, f"{taken} has been overtaken by {younger}")
        self._trace.counts["inversions"] += 1
        if all(batch in self._answered for batch in together):
            self.inversions += 1

    def acknowledged(self, taken: Taken) -> None:
        """Check the sequence number that a record has got."""
        if self.of(taken) is not Ordering.STRICT:
            return
        sequence = int(taken.record.sequence_number or 0)
        if self._last_sequence.get(taken.key, 0) >= sequence:
            raise self._promises.note(Rule.SEQUENCE, f"{taken} of key {taken.key}")
        self._last_sequence[taken.key] = sequence
