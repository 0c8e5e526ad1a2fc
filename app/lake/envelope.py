"""The event envelope v1 as data: field forms, the names and what their payloads must hold.

Not here: making events (app.lake.make) or deciding what a field means (app.lake.datamap).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEX = "0123456789abcdef"
_ULID = rf"[{CROCKFORD}]{{26}}"

FORMS: Mapping[str, str] = {
    "event_id": rf"evt_[0-7][{CROCKFORD}]{{25}}",
    "user_id": rf"usr_{_ULID}",
    "anon_id": r"a_[0-9A-Za-z]{22}",
    "device_fp": r"fp_[0-9a-f]{32}",
    "session_id": rf"s_{_ULID}",
    "click_token": r"ct_[0-9A-Za-z]{20}",
    "profile_id": rf"prf_{_ULID}",
    "studio_id": rf"std_{_ULID}",
    "order_id": rf"ord_{_ULID}",
    "thread_id": rf"thr_{_ULID}",
    "ts": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "role": "buyer|provider",
    "country": "[A-Z]{2}",
    "path": "/[!-~]*",
    "ref": "https://[!-~]+",
    "text": r"(?s).+",
}
"""The forms of the values in the lake we make. Another lake has its own; no eraser reads this."""

FIELDS: Mapping[str, str] = {
    "event_id": "event_id",
    "ts": "ts",
    "name": "text",
    "app.name": "text",
    "app.ver": "text",
    "app.build": "text",
    "user.user_id": "user_id?",
    "user.anon_id": "anon_id",
    "user.role": "role?",
    "session_id": "session_id",
    "device.ua": "text",
    "device.os": "text",
    "device.model": "text",
    "device.lang": "text",
    "geo.country": "country",
    "geo.region": "text",
    "geo.city": "text",
    "page.path": "path",
    "page.ref": "ref?",
    "campaign.utm_source": "text?",
    "campaign.utm_medium": "text?",
    "campaign.utm_campaign": "text?",
}
"""Always present, in this order; `?`: the value may be null."""

OPTIONAL: Mapping[str, str] = {"device.fp": "device_fp", "campaign.click_token": "click_token"}
"""May be absent; never null."""

PAYLOADS: Mapping[str, str] = {
    "app.start": "",
    "app.end": "",
    "session.start": "",
    "session.end": "",
    "consent.update": "marketing_email marketing_push analytics",
    "search.query": "q filters sort results",
    "search.result_click": "hit_id rank scope",
    "suggest.view": "scope q items",
    "profile.view": "profile_id role verified",
    "studio.view": "studio_id verified",
    "thread.open": "thread_id counterpart_role",
    "action_card.open": "kind order_id delta",
    "action_card.complete": "kind order_id delta",
    "checkout.start": "order_id context subtotal_cents",
    "checkout.payment_succeeded": "order_id amount_cents method",
    "checkout.abandon": "order_id step",
    "growth.alert.open": "alert",
    "growth.alert.click": "alert",
    "digest.open": "digest",
    "digest.click": "digest",
    "book_again.click": "provider_id",
    "referral.invite": "code",
    "referral.accept": "code user_id",
    "referral.award": "code amount_cents",
    "referral.clawback": "code amount_cents",
    "landing.view": "city role",
    "help.view": "slug",
    "help.feedback": "slug helpful",
    "support.case.open": "case_id topic",
    "support.case.assign": "case_id topic",
    "support.case.resolve": "case_id topic",
    "refund.proposed": "order_id amount_cents",
    "refund.succeeded": "order_id amount_cents",
    "refund.failed": "order_id amount_cents",
    "chargeback.open": "order_id amount_cents reason",
    "chargeback.submit": "order_id amount_cents reason",
    "chargeback.closed": "order_id amount_cents reason",
    "exp.view": "exp_id var",
    "exp.convert": "exp_id",
    "identity.link": "user_id anon_id device_fp",
}
"""What a payload must hold, by event name. The list is open: an unknown name is data."""

_ABSENT = object()
_COMPILED = {name: re.compile(form) for name, form in FORMS.items()}
_GROUPS = {"app", "user", "device", "geo", "page", "campaign"}
_TOP = {"event_id", "ts", "name", "session_id", "payload"} | _GROUPS


def problems(event: Mapping[str, Any]) -> list[str]:
    """Where an event departs from envelope v1: paths and expected forms, never values."""
    found = [f"{key}: not of the envelope" for key in event.keys() - _TOP]
    for path, form in FIELDS.items():
        found += _field_problems(path, form, _at(event, path))
    for path, form in OPTIONAL.items():
        value = _at(event, path)
        if value is not _ABSENT:
            found += _field_problems(path, form, value)
    known = {*FIELDS, *OPTIONAL}
    for group in _GROUPS & event.keys():
        if isinstance(event[group], Mapping):
            found += [
                f"{group}.{k}: not of the envelope"
                for k in event[group]
                if f"{group}.{k}" not in known
            ]
    found += _payload_problems(event)
    return found


def _payload_problems(event: Mapping[str, Any]) -> Iterator[str]:
    payload = event.get("payload", _ABSENT)
    if not isinstance(payload, Mapping):
        yield "payload: must be an object"
        return
    for key in PAYLOADS.get(str(event.get("name")), "").split():
        value = payload.get(key, _ABSENT)
        if key in FORMS:
            yield from _field_problems(f"payload.{key}", key, value)
        elif value is _ABSENT:
            yield f"payload.{key}: missing"


def _at(event: Mapping[str, Any], path: str) -> Any:
    value: Any = event
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _field_problems(path: str, form: str, value: Any) -> Iterator[str]:
    if value is _ABSENT:
        yield f"{path}: missing"
    elif value is None:
        if not form.endswith("?"):
            yield f"{path}: null"
    elif not isinstance(value, str) or not _COMPILED[form.rstrip("?")].fullmatch(value):
        yield f"{path}: not of the form of {form}"
