"""What is counted has a name, and each number is in one bucket."""

from udfs.offload.counts import BATCH_SIZES, GAUGES, LATENCIES_MS, Counts


def test_records_are_counted_by_the_size_of_their_request() -> None:
    counts = Counts()
    for records in (1, 10, 11, 10_001):
        counts.add_request(records)
    found = {name: number for name, number in counts.items() if name.startswith("records_in") and number}
    assert found == {
        "records_in_batches_to_1": 1,
        "records_in_batches_to_10": 10,
        "records_in_batches_to_100": 11,
        "records_in_batches_over_10000": 10_001,
    }
    assert counts.requests == 4


def test_requests_are_counted_by_their_latency() -> None:
    counts = Counts()
    for seconds in (0, 0.001, 0.0011, 16.384, 17):
        counts.add_latency(seconds)
    found = {name: number for name, number in counts.items() if name.startswith("requests_of") and number}
    assert found == {
        "requests_of_ms_to_1": 2,
        "requests_of_ms_to_2": 1,
        "requests_of_ms_to_16384": 1,
        "requests_of_ms_over_16384": 1,
    }


def test_names_are_there_from_the_start_and_unique() -> None:
    names = [name for name, _ in Counts().items()]
    assert len(names) == len(set(names)) == 9 + len(BATCH_SIZES) + 1 + len(LATENCIES_MS) + 1
    assert set(names) >= GAUGES


def test_everything_is_zero_at_the_start() -> None:
    assert {number for _, number in Counts().items()} == {0}
