"""S3 that fails on the way, in the middle of a run: with real workers, through the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from app.servers import Servers
from tests.faults.effort import Effort
from tests.faults.proxy import HttpProxy
from tests.faults.proxy import http as on_http
from tests.faults.stands import Stand, Stands


def faults(seed: int) -> dict[str, on_http.Fault]:
    """By name: what happens to requests on their way."""
    some, only = on_http.Sometimes, on_http.conditional
    writes = ("PUT", "POST", "DELETE")
    return {
        "every PUT is applied and its answer lost": some(
            on_http.losing_answer, seed=seed, methods=("PUT",), only=only
        ),
        "every PUT meets its own success": some(
            on_http.meeting_itself, seed=seed, methods=("PUT",), only=only
        ),
        "30 % of all answers are 503": some(
            on_http.answering(503, "SlowDown"), seed=seed, share=0.3, at_most=400
        ),
        "30 % of all answers are 500": some(
            on_http.answering(500, "InternalError"), seed=seed, share=0.3, at_most=400
        ),
        "30 % of all writes are done and their answers lost": some(
            on_http.losing_answer, seed=seed, share=0.3, methods=writes
        ),
        "409 for half of the PUTs": some(
            on_http.answering(409, "ConditionalRequestConflict"), seed=seed, share=0.5, only=only
        ),
        "every tenth body is damaged": some(
            on_http.corrupting, seed=seed, share=0.1, methods=("GET",), at_most=40
        ),
        "every tenth body breaks off": some(
            on_http.breaking_off, seed=seed, share=0.1, methods=("GET",), at_most=40
        ),
        "every fifth answer takes half a second": some(
            on_http.slowing(0.5), seed=seed, share=0.2, at_most=200
        ),
    }


@contextmanager
def stand_behind(proxy: HttpProxy, stands: Stands) -> Iterator[Stand]:
    with stands.fresh("s3", env={"CLEARLAKE_S3_ENDPOINT": proxy.endpoint}) as stand:
        yield stand


def test_a_run_ends_right_whatever_becomes_of_requests_on_their_way(
    stands: Stands, servers: Servers, effort: Effort
) -> None:
    names = list(faults(0))
    with (
        effort.measuring("G6", "S3 that fails on the way") as measured,
        ExitStack() as closing,
    ):
        proxy = closing.enter_context(HttpProxy(servers.s3.endpoint))
        stand = closing.enter_context(stand_behind(proxy, stands))
        for n in measured.rounds(least=1, most=4 * len(names), share=0.1):
            if len(stand.people) < 3:
                stand = closing.enter_context(stand_behind(proxy, stands))
            name = names[n % len(names)]
            fault = faults(effort.seed + n)[name]
            going = stand.begin()
            proxy.fault = fault
            worker = stand.worker()
            stand.wait(going.settled, seconds=120 + 0.3 * effort.seconds)
            proxy.fault = on_http.passing
            measured.figure.note("times that a person resumed", going.see_through(worker))
            assert isinstance(fault, on_http.Sometimes)
            measured.figure.note("requests that failed", fault.hits)
            measured.figure.faults += [f"{name}: {w}" for w in going.wrong()]
            if not fault.hits:
                measured.figure.faults.append(f"{name}: never happened")


@pytest.mark.long
@pytest.mark.parametrize("fault", [on_http.unreachable, on_http.answering(503, "SlowDown")])
def test_while_s3_is_away_nothing_is_said_to_be_done(
    stands: Stands, servers: Servers, effort: Effort, fault: on_http.Fault
) -> None:
    """For longer than a step is tried again: it is parked and named; then a person resumes it."""
    with HttpProxy(servers.s3.endpoint) as proxy, stand_behind(proxy, stands) as stand:
        going = stand.begin()
        proxy.fault = fault
        worker = stand.worker()
        stand.wait(going.stuck, seconds=300)
        assert all(code == "unreachable" for _, _, code in stand.world.parked(going.run_id))
        assert "VERIFIED" not in {v for v, _ in stand.world.verdicts(going.run_id).values()}
        proxy.fault = on_http.passing
        going.resume()
        going.wait_over(worker, seconds=120)
        assert going.wrong() == []
