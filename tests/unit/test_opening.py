"""How a published version comes to be scored beside the stream."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.scripted_remote import ScriptedRemote, after, breaks, fails, hangs, scored
from tests.waiting import wait_until
from udfs import remotes
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.load_ledger import LoadLedger
from udfs.models.load_watch import LoadWatch
from udfs.models.places import AllowedPlaces
from udfs.models.updates import Check, PublishModel
from udfs.models.version_loading import LoadedVersion, LoadingSettings, VersionLoader
from udfs.offload.breaker import FAULTS_IN_A_ROW, BreakerState
from udfs.offload.opening import Offloading, OffloadSettings
from udfs.records import ModelId
from udfs.scorers import load_scorer

REFUSED = fails(Fault.PASSING, "connection refused")
DENIED = fails(Fault.LASTING, "no such model")
ANY_FAULT = frozenset(Fault)


@pytest.fixture
def offloading() -> Iterator[Offloading]:
    made = Offloading(OffloadSettings(), AllowedPlaces(), ("rest",))
    yield made
    made.close(10)


def published(**options: str) -> PublishModel:
    return PublishModel(ModelId("far", 1), "rest", options={"url": "http://far", **options})


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> ScriptedRemote:
    """What `remotes.connect` gives."""
    made = ScriptedRemote()
    monkeypatch.setattr(remotes, "connect", lambda *_: made)
    return made


def test_a_version_is_connected_before_it_serves(offloading: Offloading, remote: ScriptedRemote) -> None:
    scorer = offloading.connect(published(), 5)

    assert remote.opened == 1
    assert scorer.score_batch([1]) == [scored(1)]
    scorer.close()


def test_a_version_whose_server_refuses_does_not_load(offloading: Offloading, remote: ScriptedRemote) -> None:
    remote._opens = [DENIED]

    with pytest.raises(OffloadError, match="no such model"):
        offloading.connect(published(), 5)
    wait_until(lambda: remote.closed, what="the remote's close")


def test_a_new_version_whose_server_is_away_does_not_load(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [REFUSED] * 100

    with pytest.raises(OffloadError, match="connection refused"):
        offloading.connect(published(), 0.2)


def test_a_version_that_was_served_goes_on_while_its_server_is_away(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [REFUSED] * 100

    scorer = offloading.connect(published(deadline="0.2"), 5, late_after=ANY_FAULT)

    assert "could not be reached" in scorer.notes[0]
    assert "connection refused" in scorer.notes[0]
    scorer.close()


def test_it_is_connected_once_its_server_is_back(offloading: Offloading, remote: ScriptedRemote) -> None:
    remote._opens = [REFUSED] * 100
    scorer = offloading.connect(published(deadline="0.2"), 5, late_after=ANY_FAULT)
    remote._opens.clear()

    assert wait_until(lambda: scorer.score_batch([1]) == [scored(1)], what="an answer")
    scorer.close()


def test_a_version_whose_server_may_be_away_does_not_load_where_it_refuses(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [DENIED]

    with pytest.raises(OffloadError, match="no such model"):
        offloading.connect(published(), 5, late_after={Fault.PASSING})


def test_a_server_that_takes_longer_to_connect_than_a_request_may_is_connected_once(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [hangs, *[after(0.3)] * 1000]
    scorer = offloading.connect(published(deadline="0.1", attempts="1"), 5, late_after=ANY_FAULT)
    assert not scorer.is_connected
    assert re.search(r"did not answer within 0\.\d+ s", scorer.notes[0])

    assert wait_until(lambda: scorer.score_batch([1]) == [scored(1)], what="an answer")

    assert remote.opened == 2
    scorer.close()


def test_checks_of_a_version_that_was_served_may_take_longer_than_a_request(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._acts = [after(1.2)]

    scorer = offloading.connect(checked(1, expected=1, deadline="1s"), 10, late_after=ANY_FAULT)

    assert (scorer.is_connected, scorer.notes) == (True, ())
    scorer.close()


def test_a_version_that_was_served_goes_on_while_its_server_refuses_it(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [DENIED, DENIED]

    scorer = offloading.connect(published(), 5, late_after=ANY_FAULT)

    assert "no such model" in scorer.notes[0]
    assert "no such model" in str(scorer.score_batch([1])[0])
    assert scorer.failure is None
    assert scorer.score_batch([1]) == [scored(1)]
    scorer.close()


def test_what_does_not_fit_the_model_is_said_when_it_is_connected_late(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [REFUSED] * 1000
    scorer = offloading.connect(published(deadline="0.2"), 5, late_after=ANY_FAULT)
    remote._opens = [breaks(lambda: ModelLoadError("no such output"))] * 1000

    wait_until(lambda: "no such output" in str(scorer.score_batch([1])[0]), what="the reason")
    assert str(scorer.failure) == "no such output"
    scorer.close()


def checked(number: int, *, expected: int, count: int = 1, deadline: str = "5s") -> PublishModel:
    """A version with checks of numbers from one on."""
    checks = [Check(one, {"scored": one}) for one in range(number, number + count)]
    checks[-1] = Check(checks[-1].data, {"scored": expected})
    options = {"url": "http://far", "deadline": deadline, "max_batch": 2}
    return PublishModel(ModelId("far", 1), "rest", options=options, checks=tuple(checks))


def test_checks_are_run_before_the_first_event_of_a_server_that_comes_late(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [DENIED]
    scorer = offloading.connect(checked(1, expected=3, count=3), 5, late_after=ANY_FAULT)
    assert remote.batches == []

    assert scorer.score_batch([7]) == [scored(7)]

    assert remote.batches == [[1, 2], [3], [7]]
    assert scorer.is_connected
    scorer.close()


def test_a_version_whose_check_differs_when_its_server_comes_late_scores_nothing(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._opens = [DENIED]
    scorer = offloading.connect(checked(1, expected=5, count=3), 5, late_after=ANY_FAULT)

    for _ in range(2):
        assert "check 3 differs" in str(scorer.score_batch([7])[0])

    assert "check 3 differs" in str(scorer.failure)
    assert remote.batches == [[1, 2], [3]]
    scorer.close()


@pytest.mark.parametrize("fault", [Fault.LASTING, Fault.RECORD, Fault.UNCLEAR])
def test_a_check_that_a_server_does_not_answer_is_run_again(
    offloading: Offloading, remote: ScriptedRemote, fault: Fault
) -> None:
    remote._acts = [fails(fault, "not loaded yet")] * 2
    scorer = offloading.connect(checked(1, expected=1), 5, late_after=ANY_FAULT)
    assert "not loaded yet" in scorer.notes[0]

    assert "not loaded yet" in str(scorer.score_batch([7])[0])
    assert (scorer.is_connected, scorer.failure) == (False, None)
    assert scorer.score_batch([7]) == [scored(7)]

    assert remote.batches == [[1], [1], [1], [7]]
    scorer.close()


@pytest.mark.parametrize("late_after", [(), ANY_FAULT], ids=["new", "returns"])
def test_a_check_that_must_not_be_sent_twice_is_sent_once_when_a_version_is_loaded(
    offloading: Offloading, remote: ScriptedRemote, late_after: Collection[Fault]
) -> None:
    remote.is_repeatable = False
    remote._opens = [REFUSED]
    remote._acts = [fails(Fault.PASSING, "no answer")]

    if late_after:
        offloading.connect(checked(1, expected=1), 5, late_after=ANY_FAULT).close()
    else:
        with pytest.raises(OffloadError, match="no answer"):
            offloading.connect(checked(1, expected=1), 5)

    assert (remote.opened, remote.batches) == (2, [[1]])


def test_a_check_that_may_be_sent_twice_is_sent_again_after_a_fault_that_passes(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    remote._acts = [fails(Fault.PASSING, "no answer")]

    offloading.connect(checked(1, expected=1), 5).close()

    assert remote.batches == [[1], [1]]


@pytest.mark.parametrize(
    ("opens_by_asking", "is_checked", "state"),
    [
        (False, False, BreakerState.OPEN),
        (True, False, BreakerState.CLOSED),
        (False, True, BreakerState.CLOSED),
    ],
    ids=["nothing is asked", "connecting asks", "a check asks"],
)
def test_a_new_version_closes_an_open_breaker_where_its_server_answered(
    offloading: Offloading,
    remote: ScriptedRemote,
    opens_by_asking: bool,
    is_checked: bool,
    state: BreakerState,
) -> None:
    remote.opens_by_asking = opens_by_asking
    breaker = offloading._breakers.of(remote.endpoint)
    for _ in range(FAULTS_IN_A_ROW):
        breaker.fail(0, "refused", 0, 0)

    offloading.connect(checked(1, expected=1) if is_checked else published(), 5).close()

    assert breaker.state is state


def test_workers_are_no_option_of_what_a_server_scores(
    offloading: Offloading, remote: ScriptedRemote
) -> None:
    with pytest.raises(ModelLoadError, match="option workers"):
        offloading.connect(published(workers="2"), 5)


def load(
    version: PublishModel,
    offloading: Offloading,
    folder: Path,
    formats: tuple[str, ...] = ("rest",),
    *,
    late_after: Collection[Fault] = (),
) -> LoadedVersion:
    """Load as jobs do."""
    settings = LoadingSettings(trial_process=True, deadline=10, fetch_attempts=1, max_memory=2**30)
    loader = VersionLoader(
        lambda: ArtifactStore(ArtifactSettings(folder=str(folder), max_bytes=2**20)),
        *(load_scorer, LoadLedger(folder), formats, settings),
        offload=offloading,
    )
    return loader.load(version, LoadWatch(lambda _: None, late_after=late_after))


def test_a_remote_version_is_loaded_without_an_artifact(
    offloading: Offloading, remote: ScriptedRemote, tmp_path: Path
) -> None:
    loaded = load(published(), offloading, tmp_path)

    assert loaded.memory_bytes == 0
    loaded.scorer.close()


def test_nothing_is_sent_to_a_server_but_what_is_asked_of_it(
    offloading: Offloading, remote: ScriptedRemote, tmp_path: Path
) -> None:
    load(published(), offloading, tmp_path).scorer.close()

    assert remote.batches == []


def test_checks_of_a_remote_version_are_asked_of_its_server(
    offloading: Offloading, remote: ScriptedRemote, tmp_path: Path
) -> None:
    checked = PublishModel(
        ModelId("far", 1), "rest", options={"url": "http://far"}, checks=(Check(1, {"scored": 2}),)
    )

    with pytest.raises(ModelLoadError, match="check 1 differs"):
        load(checked, offloading, tmp_path)
    assert remote.batches == [[1]]


def test_checks_are_not_asked_of_a_server_that_is_away_when_its_version_returns(
    offloading: Offloading, remote: ScriptedRemote, tmp_path: Path
) -> None:
    remote._opens = [REFUSED] * 100
    checked = PublishModel(
        ModelId("far", 1),
        "rest",
        options={"url": "http://far", "deadline": "0.2"},
        checks=(Check(1, {"scored": 1}),),
    )

    loaded = load(checked, offloading, tmp_path, late_after=ANY_FAULT)

    assert "could not be reached" in loaded.notes[0]
    assert remote.batches == []
    loaded.scorer.close()


def test_a_protocol_that_is_not_allowed_is_refused(
    offloading: Offloading, remote: ScriptedRemote, tmp_path: Path
) -> None:
    with pytest.raises(ModelLoadError, match="format 'rest' is not allowed here"):
        load(published(), offloading, tmp_path, ("onnx",))
