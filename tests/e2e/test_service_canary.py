"""Nothing that the service emits or keeps names a person: logs, queue, metrics, errors, entries."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import psycopg
import redis

from app.domain.dsars import State
from app.servers import Servers
from tests.e2e.installations import Installation, installation, settings_of
from tests.e2e.reader import in_folder
from tests.e2e.worlds import World

NOTE = "canary note of Frieda Ahrendt-Kowalczyk"
REFERENCE = "CANARY-TICKET-88123"
EVIDENCE = "canary-evidence-10.20.30.40"
TYPED = "usr_canary_typed_into_the_wrong_place"
REASON = "canary reason: she called us"


def test_no_value_of_a_person_leaves_the_sealed_columns(
    s3_world: World, servers: Servers, empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    owner = empty_database_url
    environment = settings_of(s3_world, servers=servers, owner_url=owner, folder=folder)
    person = s3_world.gone(users=(s3_world.cast.active_buyer,))
    broker = environment["CLEARLAKE_BROKER_URL"]
    values = (*person.values, NOTE, REFERENCE, EVIDENCE, TYPED, REASON)
    emitted: dict[str, str] = {}
    with installation(environment, folder) as service:
        user = s3_world.cast.active_buyer
        service.support.post("/v1/consents", _consent(user))
        dsar_id = _opened(service, user)
        emitted |= _bad_input(service, user)
        service.wait(dsar_id, State.AWAITING_APPROVAL)
        _rejected_case(service, s3_world.cast.provider)
        emitted["queue while it waits"] = _queue(broker)
        service.approved(dsar_id)
        service.run()
        ended = service.wait(dsar_id, State.COMPLETED)
        assert (ended["outcome"], ended["verdict"]) == ("fulfilled", "VERIFIED")
        emitted["one GET"] = str(ended)
        for path in ("timeline", "preview", "report.json"):
            answer = httpx.get(
                f"{service.url}/v1/dsars/{dsar_id}/{path}", headers=_key(service), trust_env=False
            )
            emitted[path] = answer.text
        emitted["metrics"] = httpx.get(f"{service.url}/metrics", trust_env=False).text
        emitted["queue at the end"] = _queue(broker)
        service.wait_shredded(dsar_id)
    for log in sorted((folder / "service").glob("*.log")):
        emitted[log.name] = log.read_text("utf-8")
    assert "step.left" in emitted["worker-1.log"], "the logs are there"
    found = [f"{v!r} in {place}" for place, text in emitted.items() for v in _held(text, values)]
    found += [f"{v!r} in {place}" for place, v in _in_database(owner, values)]
    found += [str(held) for held in in_folder(folder, values)]
    assert found == []


def test_the_search_of_the_database_has_teeth(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url.replace("+psycopg", "", 1)) as link:
        link.execute("create table t (a bytea, b jsonb, c text)")
        link.execute(
            "insert into t values (%s, %s, %s)",
            (
                b"\x01" + TYPED.encode(),
                f'{{"deep": ["{NOTE}"]}}',
                base64.b64encode(f"..{EVIDENCE}".encode()).decode(),
            ),
        )
        link.commit()
    held = {value for _, value in _in_database(empty_database_url, (TYPED, NOTE, EVIDENCE, REASON))}
    assert held == {TYPED, NOTE, EVIDENCE}


def _consent(user: str) -> dict[str, object]:
    return {
        "subject": {"user_id": user},
        "purpose": "analytics",
        "state": "given",
        "policy_version": "2026-01",
        "source": "web_banner",
        "evidence": {"ip": EVIDENCE},
    }


def _opened(service: Installation, user: str) -> str:
    case = service.support.post(
        "/v1/dsars",
        {
            "type": "erasure",
            "regulation": "gdpr",
            "subject": {"user_id": user},
            "note": NOTE,
            "external_ref": REFERENCE,
        },
    )
    return str(case["id"])


def _rejected_case(service: Installation, user: str) -> None:
    dsar_id = service.open(user_id=user)
    service.wait(dsar_id, State.AWAITING_APPROVAL)
    service.officer.post(f"/v1/dsars/{dsar_id}/reject", {"reason": REASON})


def _bad_input(service: Installation, user: str) -> dict[str, str]:
    """Everything that can be typed wrongly, and what is answered."""
    url, headers = service.url, {"Authorization": f"Bearer {service.support.key}"}
    erasure = {"type": "erasure", "regulation": "gdpr"}
    asked: list[tuple[str, str, dict[str, object]]] = [
        ("GET", f"/v1/dsars/{TYPED}", {}),
        ("GET", f"/v1/{user}", {}),
        ("GET", f"/v1/dsars?subject={user}&cursor={TYPED}", {}),
        ("GET", f"/v1/consents?user_id={user}", {}),
        ("POST", "/v1/dsars", {"json": {**erasure, "subject": {"user_id": user, TYPED: user}}}),
        ("POST", "/v1/dsars", {"json": {**erasure, "subject": {"device_fps": [TYPED]}}}),
        ("POST", "/v1/dsars", {"json": {**erasure, "subject": {"user_id": [TYPED]}}}),
        ("POST", "/v1/dsars", {"json": {"type": TYPED, "regulation": user, "subject": TYPED}}),
        ("POST", "/v1/dsars", {"content": f'{{"subject": "{TYPED}", '.encode()}),
        ("POST", f"/v1/dsars/{TYPED}/approve", {"json": {"scope_digest": user}}),
        ("PUT", "/v1/dsars", {"json": {"user_id": user}}),
    ]
    answers = {}
    for number, (method, path, options) in enumerate(asked):
        answer = httpx.request(
            method,
            url + path,
            headers={**headers, "X-Request-Id": f"canary-{number}"},
            trust_env=False,
            **options,  # type: ignore[arg-type]  # json or content
        )
        if number != 3:
            assert 400 <= answer.status_code < 500, (path, answer.status_code)
        answers[f"answer {number}"] = answer.text + str(dict(answer.headers))
    no_key = httpx.get(
        url + "/v1/dsars", headers={"Authorization": f"Bearer {TYPED}"}, trust_env=False
    )
    assert no_key.status_code == 401
    return {**answers, "no key": no_key.text}


def _key(service: Installation) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.officer.key}"}


def _queue(url: str) -> str:
    """Everything in the broker, of whatever kind."""
    with redis.Redis.from_url(url) as client:
        return repr([(key, _content(client, key)) for key in client.scan_iter()])


def _content(client: redis.Redis, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"hash":
        return client.hgetall(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1)
    if kind == b"set":
        return client.smembers(key)
    return client.get(key)


# --- searching -----------------------------------------------------------------------------------


def _held(text: str, values: Iterable[str]) -> Iterator[str]:
    views = [text, *_decoded(text)]
    return (value for value in values if any(value in view for view in views))


def _decoded(text: str) -> Iterator[str]:
    """What stands in it as base64 or hex."""
    for word in re.findall(r"[A-Za-z0-9+/_-]{12,}={0,2}", text):
        for spelling in (word, word.replace("-", "+").replace("_", "/")):
            try:
                padded = spelling + "=" * (-len(spelling) % 4)
                yield base64.b64decode(padded, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue
    for word in re.findall(r"(?:[0-9a-f]{2}){6,}", text):
        yield bytes.fromhex(word).decode("utf-8", "replace")


def _in_database(url: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a dump would hold, every column decoded."""
    wanted = tuple(values)
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        tables = link.execute(
            "select schemaname, tablename from pg_tables where schemaname not like 'pg_%' "
            "and schemaname <> 'information_schema'"
        ).fetchall()
        for schema, table in tables:
            for row in link.execute(f'select * from "{schema}"."{table}"'):
                for value in row:
                    raw = bytes(value) if isinstance(value, bytes | memoryview) else None
                    text = raw.decode("utf-8", "replace") if raw is not None else str(value)
                    for found in _held(text, wanted):
                        yield f"{schema}.{table}", found
