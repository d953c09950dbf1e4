"""Two workers share the partitions; kills, stops and rebalances lose and double nothing, counted on the topic itself."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from devstack.kafka import Kafka
from devstack.process import spawn, wait_until
from tests.makers.dedupe_stories import event
from tests.makers.dedupe_topics import Topics
from tests.makers.dedupe_workers import Worker
from tests.system.dedupe.conftest import MakeWorker
from trueup.contracts.codec import Decoder, encode_event
from trueup.contracts.events import UsageEvent
from trueup.contracts.keys import id_sum_term, identity
from trueup.contracts.progress import Tally
from trueup.contracts.topics import declared
from trueup.runtime.clock import SystemClock
from trueup.runtime.kafka import create_missing_topics
from trueup.runtime.settings import StreetSettings

PARTITIONS = 4
STOPPING_AT = "tests.makers.dedupe_stopping_at"
TAKE_OVER_SECONDS = 30.0


class Deliveries:
    """Events that are each delivered twice, in a seeded order, and what must have become of them."""

    def __init__(self, street: Topics, seed: int) -> None:
        """Nothing is published yet."""
        self._street = street
        self._random = random.Random(seed)
        self._born_ms = SystemClock().now_ms()
        self.ids: list[str] = []

    def publish(self, count: int) -> None:
        """Two deliveries of each of so many new events."""
        ids = [f"e{len(self.ids) + number}" for number in range(count)]
        self.ids += ids
        twice = ids * 2
        self._random.shuffle(twice)
        for id in twice:
            self._street.publish(encode_event(event(id, self._born_ms)), int(id[1:]) % PARTITIONS)
        self._street.flush()

    def check(self) -> None:
        """Every event once on the on-time topic, in the partition it came in; counts, quantities and id sums agree."""
        decoder = Decoder()
        seen: Counter[tuple[int, str]] = Counter()
        for found in self._street.read_all(self._street.names.on_time):
            read = decoder.decode(found.value)
            assert isinstance(read, UsageEvent)
            seen[found.partition, read.id] += 1
        expected = {(int(id[1:]) % PARTITIONS, id) for id in self.ids}
        assert {key for key, times in seen.items() if times > 1} == set()
        assert set(seen) == expected
        terms = sum([id_sum_term(identity("inference", id)) for id in self.ids])
        sums = self._street.check_chain()
        assert sums["on_time"] == sums["duplicate"] == Tally(len(self.ids), 5 * len(self.ids), terms)


def until_all_decided(street: Topics, *workers: Worker) -> None:
    """Until nothing is unread."""
    assert wait_until(lambda: street.unread() == 0, 120, 0.5), "\n".join(worker.said() for worker in workers)


def stopping_at(worker: Worker, point: str, number: int, times: int = 4) -> None:
    """Starts a worker that signals itself the so-manieth time it reaches a point of a transaction."""
    worker.start(STOPPING_AT, (point, str(times), str(int(number))))


def test_kills_at_three_points_of_a_transaction(street: Topics, make_worker: MakeWorker) -> None:
    """Before the offsets, between offsets and commit, after the commit: with input unread, and outputs open at the first two."""
    deliveries = Deliveries(street, seed=1)
    deliveries.publish(10_000)
    first, second = (make_worker(name, street.settings, batch_records=200) for name in ("dedupe-1", "dedupe-2"))
    for point in ("written", "offsets_sent", "committed"):
        stopping_at(first, point, signal.SIGKILL)
        assert first.wait_exit() == -signal.SIGKILL, first.said()
        assert street.unread() > 0
        if point != "committed":
            assert street.open_transactions()
        if point == "written":
            second.start()
    first.start()
    until_all_decided(street, first, second)
    deliveries.check()
    assert {first.stop(), second.stop()} == {0}


@pytest.mark.parametrize("point", ["written", "offsets_sent"])
def test_a_stopped_worker_that_wakes_up_changes_nothing(street: Topics, make_worker: MakeWorker, point: str) -> None:
    """The other one has all partitions within 30 s, goes on, and what the zombie does afterwards is refused."""
    deliveries = Deliveries(street, seed=2)
    deliveries.publish(8_000)
    zombie, heir = (make_worker(name, street.settings, batch_records=200) for name in ("dedupe-1", "dedupe-2"))
    # On a busy machine most of the default 10 s may be over before anybody looks.
    zombie.environment["TRUEUP_TRANSACTION_TIMEOUT_MS"] = "15000"
    stopping_at(zombie, point, signal.SIGSTOP)
    zombie.wait_stopped()
    stopped_at = time.monotonic()
    held = street.open_transactions()
    assert held, zombie.said()
    assert street.unread() > 0
    heir.start()
    before = {partition: len(street.progress(partition)) for _, partition in held}
    heir.wait_owning(PARTITIONS, TAKE_OVER_SECONDS)

    def goes_on() -> bool:
        return all(len(street.progress(partition)) > count for partition, count in before.items())

    assert wait_until(goes_on, TAKE_OVER_SECONDS - (time.monotonic() - stopped_at), 0.2), heir.said()
    until_all_decided(street, heir)
    deliveries.check()
    ends = _ends(street)
    zombie.send(signal.SIGCONT)
    assert zombie.wait_exit() == 1, zombie.said()
    zombie.start()
    assert wait_until(lambda: len(zombie.owns()) + len(heir.owns()) == PARTITIONS and bool(zombie.owns()), 60, 0.2), zombie.said()
    deliveries.check()
    # Not even an aborted record of the zombie's lies behind what there was.
    assert _ends(street) == ends
    deliveries.publish(1_000)
    until_all_decided(street, zombie, heir)
    deliveries.check()


def _ends(street: Topics) -> dict[tuple[str, int], int]:
    names = street.names
    return {
        (topic, partition): street.ends.low_and_high(topic, partition)[1]
        for topic in (names.on_time, names.late, names.rejected, names.progress)
        for partition in range(PARTITIONS)
    }


def test_a_refused_transaction_is_decided_again(street: Topics, make_worker: MakeWorker) -> None:
    """The broker takes none of it; the worker, still the owner, begins anew from what is committed, without a restart."""
    deliveries = Deliveries(street, seed=7)
    deliveries.publish(2_000)
    worker = make_worker("dedupe-1", street.settings, batch_records=200)
    worker.start(STOPPING_AT, ("oversized", "5", "0"))
    until_all_decided(street, worker)
    # Once for the record; the client may refuse one more itself, which says that sequence numbers were skipped.
    assert worker.metric("trueup_transactions_aborted_total") >= 1, worker.said()
    deliveries.check()


def test_a_worker_stopped_past_its_session_but_not_its_transaction_goes_on(street: Topics, make_worker: MakeWorker) -> None:
    """Its offsets are refused; it takes the transaction back, reads what is committed and lives on, without a restart."""
    deliveries = Deliveries(street, seed=4)
    deliveries.publish(4_000)
    sleeper, heir = (make_worker(name, street.settings, batch_records=200) for name in ("dedupe-1", "dedupe-2"))
    stopping_at(sleeper, "written", signal.SIGSTOP)
    sleeper.wait_stopped()
    # The session of 6 s has ended, the transaction's 10 s have not.
    time.sleep(8)
    sleeper.send(signal.SIGCONT)
    assert wait_until(lambda: sleeper.metric("trueup_transactions_aborted_total") >= 1, 30, 0.1), sleeper.said()
    heir.start()
    until_all_decided(street, sleeper, heir)
    assert sleeper.page("/livez")["ok"] is True
    deliveries.check()


def test_a_zombie_that_commits_after_its_partitions_moved(street: Topics, make_worker: MakeWorker) -> None:
    """Its offsets were taken while it was a member, so the broker accepts its commit later still: the heir has to wait for it."""
    deliveries = Deliveries(street, seed=6)
    heir, zombie = (make_worker(name, street.settings, batch_records=200) for name in ("dedupe-1", "dedupe-2"))
    zombie.environment["TRUEUP_TRANSACTION_TIMEOUT_MS"] = "15000"
    heir.start()
    # Between the end of its session and that of its transaction it has to wake up: on a busy machine it may miss that, and tries again.
    for _attempt in range(3):
        heir.wait_owning(PARTITIONS)
        stopping_at(zombie, "offsets_sent", signal.SIGSTOP, times=1)
        zombie.wait_owning(2)
        deliveries.publish(4_000)
        zombie.wait_stopped()
        # The group gives all partitions to the heir, which then waits for the answer about the committed offsets.
        assert wait_until(lambda: str(heir.page("/livez").get("why")).startswith("restoring 4 "), 30, 0.02), heir.said()
        # Long enough for an heir that does not wait to have decided the zombie's batch once more.
        time.sleep(3)
        held = street.open_transactions()
        zombie.send(signal.SIGCONT)
        until_all_decided(street, zombie, heir)
        deliveries.check()
        if held:
            return
        zombie.kill()
    pytest.fail("each time the transaction was over before the zombie woke up: this shows nothing")


def test_a_worker_that_joins_and_leaves_in_mid_stream(street: Topics, make_worker: MakeWorker) -> None:
    """Partitions move to a second worker, come back when it stops, and move again; the stream never stands still for long."""
    deliveries = Deliveries(street, seed=3)
    first, second = (make_worker(name, street.settings, batch_records=100) for name in ("dedupe-1", "dedupe-2"))
    first.start()
    first.wait_owning(PARTITIONS)
    publishing = threading.Thread(target=_publish_in_pieces, args=(deliveries, [500] * 30))
    publishing.start()
    second.start()
    second.wait_owning(2)
    first.wait_owning(2)
    assert street.unread() > 0 or publishing.is_alive()
    assert second.stop() == 0
    first.wait_owning(PARTITIONS)
    second.start()
    second.wait_owning(2)
    publishing.join()
    until_all_decided(street, first, second)
    deliveries.check()
    _check_idle((first, second), deliveries)


def test_a_worker_killed_in_mid_rebalance_leaves_no_partition_to_nobody(street: Topics, make_worker: MakeWorker) -> None:
    """It gave its partitions up for a second worker and died before the group had shared them out."""
    deliveries = Deliveries(street, seed=8)
    first, second = (make_worker(name, street.settings, batch_records=100) for name in ("dedupe-1", "dedupe-2"))
    stopping_at(first, "gave_up", signal.SIGKILL)
    first.wait_owning(PARTITIONS)
    second.start()
    assert first.wait_exit() == -signal.SIGKILL, first.said()
    first.start()
    first.wait_owning(2, TAKE_OVER_SECONDS)
    second.wait_owning(2, TAKE_OVER_SECONDS)
    deliveries.publish(1_000)
    until_all_decided(street, first, second)
    deliveries.check()


def _publish_in_pieces(deliveries: Deliveries, pieces: Iterable[int]) -> None:
    for count in pieces:
        deliveries.publish(count)
        time.sleep(0.5)


def _check_idle(workers: Sequence[Worker], deliveries: Deliveries) -> None:
    """Both say that nothing is left to do, and together they own every partition."""
    assert wait_until(lambda: all(worker.is_idle() for worker in workers), 10, 0.1), [worker.page("/activity") for worker in workers]
    assert sorted(share for worker in workers for share in worker.owns()) == [f"dedupe:{partition}" for partition in range(PARTITIONS)]
    counted = sum(worker.metric("trueup_events_total") for worker in workers)
    # The first life of the second worker took its counter with it.
    assert 0 < counted <= 2 * len(deliveries.ids)
    # The gauge is set every few seconds.
    assert wait_until(lambda: sum(worker.metric("trueup_lag_records") for worker in workers) == 0, 20, 0.5)


def test_a_broker_that_is_killed_in_mid_stream(tmp_path: Path, make_worker: MakeWorker) -> None:
    """Workers wait for it or are started again; nothing is missing and nothing doubled. The broker is the test's own."""
    broker = Kafka(tmp_path, print)
    process = spawn(broker.part().prepare(), tmp_path / "kafka.log")
    settings = StreetSettings(kafka_bootstrap=broker.bootstrap, topic_prefix="own.", partitions=PARTITIONS, room="test")
    try:
        assert wait_until(lambda: broker.ready().ok, 120, 0.2)
        create_missing_topics(settings, declared(False, PARTITIONS, prefix="own."))
        street = Topics(settings)
        street.apply_catalogue()
        deliveries = Deliveries(street, seed=5)
        deliveries.publish(8_000)
        workers = [make_worker(name, settings, batch_records=100) for name in ("dedupe-1", "dedupe-2")]
        for worker in workers:
            worker.start()
        assert wait_until(lambda: any(street.progress(partition) for partition in range(PARTITIONS)), 60, 0.05)
        process.kill()
        process.wait()
        process = spawn(broker.part().prepare(), tmp_path / "kafka.log")
        assert wait_until(lambda: broker.ready().ok, 120, 0.2)
        assert street.unread() > 0

        def restarted_and_done() -> bool:
            for worker in workers:
                assert worker.process is not None
                if worker.process.poll() is not None:
                    assert worker.process.returncode == 1, worker.said()
                    worker.start()
            return street.unread() == 0

        assert wait_until(restarted_and_done, 180, 0.5), "\n".join(worker.said() for worker in workers)
        deliveries.check()
        for worker in workers:
            worker.kill()
    finally:
        process.kill()
        process.wait()
