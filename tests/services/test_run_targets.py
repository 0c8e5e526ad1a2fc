"""The people of a run are opened once a process, and are not kept longer than it has steps."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable

from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.lake.verify.needles import Needles
from app.services.run_targets import OpenedTargets


class Document:
    """A sealed document, and how often it was opened."""

    def __init__(self, *values: str) -> None:
        self.values, self.times = values, 0

    def open(self) -> list[Identity]:
        self.times += 1
        none: frozenset[Identifier] = frozenset()
        return [
            Identity(v, frozenset({Identifier(Kind.USER_ID, v)}), none, none, ())
            for v in self.values
        ]


def test_steps_of_one_run_open_its_document_once() -> None:
    opened, document = OpenedTargets(), Document("usr_one", "usr_two")
    found: list[Targets] = []
    for _ in range(3):
        with opened.held("run_1", b"s1", document.open) as people:
            found.append(people.targets)
            assert set(people.targets.by_value) == {"usr_one", "usr_two"}
    assert document.times == 1
    assert found[0] is found[1] is found[2]
    assert Needles.of(found[0]) is Needles.of(found[1]), "what is built of them is kept with them"


def test_a_document_that_was_sealed_again_is_opened_again() -> None:
    opened, before, after = OpenedTargets(), Document("usr_one", "usr_two"), Document("usr_two")
    with opened.held("run_1", b"s1", before.open):
        pass
    with opened.held("run_1", b"s2", after.open) as people:
        assert set(people.targets.by_value) == {"usr_two"}, "who left the run is not erased"
    with opened.held("run_2", b"s2", after.open):
        pass
    assert (before.times, after.times) == (1, 2)
    assert not opened.knows("run_1")


def test_the_end_of_a_run_and_idleness_let_go_of_its_people() -> None:
    opened, document = OpenedTargets(idle_seconds=0.05), Document("usr_one")
    with opened.held("run_1", b"s1", document.open) as people:
        held = people.targets
        held.once("needles", lambda: Needles(held))
        opened.forget("run_2")
        assert opened.knows("run_1")
    until(lambda: not opened.knows("run_1"))
    with opened.held("run_1", b"s1", document.open):
        time.sleep(0.2)
        assert opened.knows("run_1"), "a step that takes long is not idle"
    opened.forget("run_1")
    assert not opened.knows("run_1")
    assert document.times == 2


def test_what_was_built_goes_with_them_at_once_and_not_when_cycles_are_collected() -> None:
    opened, document = OpenedTargets(), Document("usr_one")
    with opened.held("run_1", b"s1", document.open) as people:
        needles = weakref.ref(Needles.of(people.targets))
        del people
    gc.disable()
    try:
        opened.forget("run_1")
        assert needles() is None
    finally:
        gc.enable()


def test_a_step_whose_run_ended_elsewhere_goes_on_with_what_it_has() -> None:
    opened, document = OpenedTargets(), Document("usr_one")
    with opened.held("run_1", b"s1", document.open) as people:
        other = threading.Thread(target=opened.forget, args=("run_1",))
        other.start()
        other.join()
        assert not opened.knows("run_1")
        assert set(people.targets.by_value) == {"usr_one"}


def until(true: Callable[[], bool], *, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
