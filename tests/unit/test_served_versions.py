"""Which versions have served, as later attempts know it."""

import pytest

from udfs.errors import Fault
from udfs.models.catalog import Catalog, apply
from udfs.models.served_versions import STATE_SCHEMA, ServedVersions
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel
from udfs.records import ModelId, ServedModel


def publish(version: int, url: str = "http://far", *, activate: bool = True) -> PublishModel:
    return PublishModel(ModelId("far", version), "rest", options={"url": url}, activate=activate)


def catalog_of(*updates: ModelUpdate) -> Catalog:
    catalog = Catalog()
    for offset, update in enumerate(updates):
        catalog = apply(catalog, update, offset, max_bytes=1000)
    return catalog


def state_of(*loaded: PublishModel) -> list[str]:
    """The state of a subtask that has loaded versions."""
    served = ServedVersions()
    for one in loaded:
        served.add(ServedModel(one.model.name, one.model.version, one.identity()))
    return served.encode()


def returns(catalog: Catalog, earlier: Catalog, state: list[str]) -> set[int]:
    """The versions that go on after a restart, whatever has become of their servers."""
    return {number for number, faults in late(catalog, earlier, state).items() if faults == set(Fault)}


def where_away(catalog: Catalog, earlier: Catalog, state: list[str]) -> set[int]:
    """The versions that go on where their servers are away."""
    return {number for number, faults in late(catalog, earlier, state).items() if faults == {Fault.PASSING}}


def late(catalog: Catalog, earlier: Catalog, state: list[str]) -> dict[int, set[Fault]]:
    """The faults of its server after which each version connects later."""
    served = ServedVersions()
    served.start(catalog, earlier, state)
    versions = catalog.models["far"].versions
    return {number: set(served.late_after(ModelId("far", number))) for number in versions}


def test_what_was_loaded_goes_on_and_nothing_else() -> None:
    catalog = catalog_of(publish(1), publish(2), publish(3))

    assert returns(catalog, catalog, state_of(publish(1), publish(3))) == {1, 3}


def test_what_has_failed_since_does_not_go_on() -> None:
    catalog = catalog_of(publish(1), publish(2))
    served = ServedVersions()
    served.start(catalog, catalog, state_of(publish(1), publish(2)))
    served.discard(ModelId("far", 2))

    assert returns(catalog, catalog, served.encode()) == {1}


def test_what_several_subtasks_have_loaded_goes_on_in_the_one_that_follows_them() -> None:
    catalog = catalog_of(publish(1), publish(2), publish(3))

    assert returns(catalog, catalog, state_of(publish(1)) + state_of(publish(2))) == {1, 2}


def test_a_version_of_another_identity_has_not_served() -> None:
    catalog = catalog_of(publish(1), publish(2))

    assert returns(catalog, catalog, state_of(publish(1), publish(2, "http://other"))) == {1}


def test_where_no_version_is_known_to_have_served_servers_of_what_an_attempt_followed_may_be_away() -> None:
    catalog = catalog_of(publish(1), publish(2), publish(3))

    assert where_away(catalog, catalog_of(publish(1), publish(2)), []) == {1, 2}
    assert where_away(catalog, catalog_of(publish(1), publish(2, "http://other")), []) == {1}
    assert where_away(catalog, Catalog(), []) == {1, 2, 3}
    assert returns(catalog, Catalog(), []) == set()


def test_a_version_that_is_loaded_and_was_never_activated_is_no_other_that_served() -> None:
    catalog = catalog_of(publish(1, activate=False), publish(2))

    assert returns(catalog, catalog, state_of(publish(1))) == {1}
    assert where_away(catalog, catalog, state_of(publish(1))) == {2}
    activated = catalog_of(publish(1, activate=False), publish(2), ActivateModel(ModelId("far", 1)))
    assert returns(activated, activated, state_of(publish(1))) == {1}
    assert where_away(activated, activated, state_of(publish(1))) == set()


def test_nothing_is_kept_of_a_subtask_that_has_loaded_nothing() -> None:
    assert ServedVersions().encode() == []


def test_a_state_of_a_later_schema_is_refused_with_what_to_do() -> None:
    catalog = catalog_of(publish(1))
    (written,) = state_of(publish(1))
    later = written.replace(f'"schema":{STATE_SCHEMA}', f'"schema":{STATE_SCHEMA + 1}')

    with pytest.raises(ValueError, match="start the job with the version that wrote it, or a later one"):
        ServedVersions().start(catalog, catalog, [later])
