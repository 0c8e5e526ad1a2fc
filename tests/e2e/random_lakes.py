"""Small random lakes, written byte by byte together with what must be left of them.

Full of near misses: longer, shorter and other-case names, escapes, CRLF, shared rows.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import zstandard

GONE = "<gone>"
USERS = ("usr_K1", "usr_K10", "usr_k1", "xusr_K1", "usr_Q7-b", "usr_Q7")
ANONS = ("a_111z", "a_111z0", "a_222-z", "b_a_111z")
NAMES = ("profile.view", "order.paid", "identity.link")
ENDS = ("\n", "\n", "\n", "\r\n", "\n\n")
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("anon_id", pa.string()),
        ("payload", pa.string()),
        ("note", pa.string()),
        ("seen", pa.list_(pa.string())),
    ]
)
MAP = """version: 1
catalog: {{name: lake, type: sql, uri: "${{CLEARLAKE_CATALOG_URI}}", warehouse: "{root}"}}
datasets:
  - name: raw
    layer: bronze
    location: "{root}raw/"
    format: ndjson
    owner: {{user_id: [user.user_id]}}
    owner_when: [{{where: {{name: identity.link}}, user_id: [payload.user_id]}}]
    linked: {{anon_id: [user.anon_id]}}
    mentions: {{user_id: [payload.user_id, payload.provider_id]}}
  - name: people
    layer: silver
    table: lake.people
    owner: {{user_id: [user_id]}}
    linked: {{anon_id: [anon_id, seen]}}
    json: {{payload: {{mentions: {{user_id: [provider_id]}}}}}}
undo_window: PT0S
downstream: {{none: true, attested_by: a test, at: 2026-01-01}}
"""
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


@dataclass(frozen=True)
class RandomLake:
    """What is written, and what must be left once these values are gone."""

    gone: frozenset[str]
    objects: dict[str, bytes] = field(repr=False)
    left: dict[str, bytes] = field(repr=False)
    """Decoded, a tombstone as GONE."""
    appends: list[pa.Table] = field(repr=False)
    rows_left: list[str] = field(repr=False)


class _Writer:
    def __init__(self, luck: random.Random, gone: frozenset[str]) -> None:
        self.luck, self.gone = luck, gone

    def value(self, value: str | None) -> tuple[str, str]:
        """A value as a JSON text, maybe escaped, before and after."""
        if value is None:
            return "null", "null"
        at = self.luck.randrange(len(value))
        escaped = f"{value[:at]}\\u{ord(value[at]):04x}{value[at + 1 :]}"
        before = self.luck.choice([value, value, escaped])
        return f'"{before}"', f'"{GONE}"' if value in self.gone else f'"{before}"'

    def text(self) -> tuple[str, str]:
        """Free text with values in it, some percent-encoded, before and after."""
        before = after = "see "
        for _ in range(self.luck.randrange(4)):
            value = self.luck.choice([*USERS, *ANONS])
            encoded = value.replace("_", self.luck.choice(["_", "%5F", "%5f"]))
            mark = self.luck.choice([" ", "/u/", "?id=", "%2F", ", "])
            before += mark + encoded
            after += mark + (GONE if value in self.gone else encoded)
        return before, after

    def anybody(self, values: tuple[str, ...]) -> str | None:
        return self.luck.choice([*values, None])

    def line(self) -> tuple[str, str]:
        """A line, before and after; '' when it goes."""
        owner, other, name = self.anybody(USERS), self.anybody(USERS), self.luck.choice(NAMES)
        is_link = name == "identity.link"
        end = self.luck.choice(ENDS)
        pairs = {
            "user": (self.value(owner), self.value(self.anybody(ANONS))),
            "other": (self.value(other), self.value(self.anybody(USERS))),
        }
        note, note_after = self.text()
        owners = {owner, other if is_link else None} - {None}
        lines = []
        for n, free in ((0, note), (1, note_after)):
            user, anon = (v[n] for v in pairs["user"])
            named, provider = (v[n] for v in pairs["other"])
            lines.append(
                f'{{"name":"{name}","user":{{"user_id":{user} ,"anon_id":{anon}}},"n":1.50,'
                f'"payload":{{"user_id":{named},"provider_id":{provider},"deep":[["{free}"]]}}}}'
                f"{end}"
            )
        goes = bool(owners) and owners <= self.gone
        # the line's own newline goes with it; the blank line behind it is another line
        return lines[0], end[1:] * (end == "\n\n") if goes else lines[1]

    def row(self) -> tuple[dict[str, object], dict[str, object] | None]:
        """A table row, before and after; None when it goes."""
        user, anon, provider = self.anybody(USERS), self.anybody(ANONS), self.anybody(USERS)
        note, note_after = self.text()
        seen = [self.luck.choice(ANONS) for _ in range(self.luck.randrange(3))]

        def is_gone(value: str | None) -> str | None:
            return GONE if value in self.gone else value

        before: dict[str, object] = {
            "user_id": user,
            "anon_id": anon,
            "payload": json.dumps({"provider_id": provider}),
            "note": note,
            "seen": seen,
        }
        after: dict[str, object] = {
            "user_id": is_gone(user),
            "anon_id": is_gone(anon),
            "payload": json.dumps({"provider_id": is_gone(provider)}),
            "note": note_after,
            "seen": [is_gone(v) for v in seen],
        }
        return before, None if user in self.gone else after


def random_lake(seed: int) -> RandomLake:
    """The lake of a seed."""
    luck = random.Random(seed)
    users = luck.sample(USERS, luck.randint(1, 2))
    gone = frozenset([*users, *luck.sample(ANONS, luck.randrange(2))])
    writer = _Writer(luck, gone)
    objects, left = {}, {}
    for number in range(luck.randint(1, 4)):
        lines = [writer.line() for _ in range(luck.randrange(40))]
        suffix = luck.choice(list(CODECS))
        name = f"raw/evt-{number}.ndjson{suffix}"
        objects[name] = CODECS[suffix]("".join(a for a, _ in lines).encode())
        left[name] = "".join(b for _, b in lines).encode()
    appends, rows_left = [], []
    for _ in range(luck.randint(1, 3)):
        rows = [writer.row() for _ in range(luck.randint(1, 40))]
        appends.append(pa.Table.from_pylist([a for a, _ in rows], schema=SCHEMA))
        rows_left += [json.dumps(b, sort_keys=True) for _, b in rows if b is not None]
    return RandomLake(gone, objects, left, appends, sorted(rows_left))
