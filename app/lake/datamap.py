"""lake.yaml -> DataMap: every key known, every value of the right form, each refusal with its line.

Not here: what the columns mean (app.domain.datasets), nor the map's own text (docs/lake.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import yaml

from app.domain.datasets import (
    Catalog,
    DataMap,
    Dataset,
    Downstream,
    DownstreamNone,
    KeepWhen,
    Layer,
    Links,
    OwnerWhen,
    Roles,
    SharedPolicy,
    Treatment,
    Where,
)
from app.domain.errors import DataMapError
from app.domain.identifiers import Kind
from app.domain.loaders import KINDS as LOADERS
from app.domain.loaders import is_acknowledged, loads_twice
from app.lake.yamlnodes import Node

DEFAULT_MAP = Path(__file__).with_name("default_lake.yaml")
"""The map of the lake that app.lake.make makes."""

_SHARED = ("tombstone", "keep", "review")
_ENGINES = ("pyiceberg", "spark", "auto")
_ROLE_KEYS = ("owner", "owner_when", "linked", "mentions", "derived")


def map_text(*, root: str) -> str:
    """The text of a map for a made lake under `root`; its other variables stay to be filled in."""
    text = DEFAULT_MAP.read_text(encoding="utf-8").replace("${CLEARLAKE_LAKE_ROOT}", root)
    if root.startswith("s3://"):
        return text
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("objects:")
    )


def read_map(path: Path, *, environment: Mapping[str, str]) -> DataMap:
    """Read and validate a map. DataMapError names file, line and what was expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise DataMapError(f"{path}: there is no such file.") from err
    except UnicodeDecodeError as err:
        raise DataMapError(f"{path}: is not UTF-8 text.") from err
    return parse_map(text, source=str(path), environment=environment)


def parse_map(text: str, *, source: str, environment: Mapping[str, str]) -> DataMap:
    """Validate the text of a map. `environment` fills in ${VAR}; an unset one is refused."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise DataMapError(f"{source}:{line}: is not YAML: {err.problem}.") from err
    if root is None:
        raise DataMapError(f"{source}:1: expected a data map, found an empty file.")
    node = Node(root, source=source, environment=environment)
    return _data_map(node, digest=hashlib.sha256(text.encode()).hexdigest())


def _data_map(node: Node, *, digest: str) -> DataMap:
    top = node.mapping(
        "version", "catalog", "objects", "shared", "links", "unparsable", "datasets",
        "snapshots", "undo_window", "downstream",
    )  # fmt: skip
    for key in ("version", "datasets"):
        if key not in top:
            node.refuse(f"the key {key}")
    if top["version"].text() != "1":
        top["version"].refuse("version 1")
    lines: dict[str, int] = {}
    placed = [p for n in top["datasets"].items() for p in _with_replicas(n, lines)]
    datasets = tuple(dataset for _, dataset in placed)
    objects = top["objects"].mapping("endpoint") if "objects" in top else {}
    snapshots = top["snapshots"].mapping("tags", "reader_grace") if "snapshots" in top else {}
    catalog = _catalog(top["catalog"]) if "catalog" in top else None
    _fits_together(top["datasets"], placed, catalog)
    return DataMap(
        catalog=catalog,
        endpoint=objects["endpoint"].text() if "endpoint" in objects else None,
        shared=_shared(top["shared"]) if "shared" in top else SharedPolicy(),
        links=_links(top["links"], datasets) if "links" in top else None,
        unparsable=top["unparsable"].one_of("park", "drop") if "unparsable" in top else "park",
        datasets=datasets,
        tags=snapshots["tags"].one_of("fail", "drop") if "tags" in snapshots else "fail",
        reader_grace=(
            snapshots["reader_grace"].duration() if "reader_grace" in snapshots else timedelta(0)
        ),
        undo_window=top["undo_window"].duration() if "undo_window" in top else timedelta(days=1),
        downstream=_downstream(top["downstream"]) if "downstream" in top else (),
        digest=digest,
        source=node.source,
        lines=lines,
    )


def _catalog(node: Node) -> Catalog:
    keys = node.mapping("name", "type", "uri", "warehouse", "properties")
    for key in ("name", "type", "warehouse"):
        if key not in keys:
            node.refuse(f"the key {key} of the catalog")
    kind = keys["type"].one_of("sql", "rest", "glue")
    if "uri" not in keys and kind != "glue":
        node.refuse(f"the key uri of a {kind} catalog")
    properties = keys["properties"].mapping() if "properties" in keys else {}
    return Catalog(
        name=keys["name"].text(),
        type=kind,
        uri=keys["uri"].text() if "uri" in keys else "",
        warehouse=keys["warehouse"].text(),
        properties={k: v.text() for k, v in properties.items()},
    )


def _shared(node: Node) -> SharedPolicy:
    keys = node.mapping("anon_id", "device_fp", "review_above")
    policy = SharedPolicy()
    return SharedPolicy(
        anon_id=keys["anon_id"].one_of(*_SHARED) if "anon_id" in keys else policy.anon_id,
        device_fp=keys["device_fp"].one_of(*_SHARED) if "device_fp" in keys else policy.device_fp,
        review_above=(
            keys["review_above"].number() if "review_above" in keys else policy.review_above
        ),
    )


def _links(node: Node, datasets: tuple[Dataset, ...]) -> Links:
    keys = node.mapping("dataset", "where")
    if set(keys) != {"dataset", "where"}:
        node.refuse("both keys dataset and where")
    name = keys["dataset"].text()
    if name not in {d.name for d in datasets if d.replica_of is None}:
        keys["dataset"].refuse("the name of a dataset of this map")
    return Links(dataset=name, where=_where(keys["where"]))


def _downstream(node: Node) -> tuple[Downstream, ...] | DownstreamNone:
    if isinstance(node.node, yaml.MappingNode):
        keys = node.mapping("none", "attested_by", "at")
        if set(keys) != {"none", "attested_by", "at"}:
            node.refuse("a list of copies, or none with attested_by and at")
        return DownstreamNone(attested_by=keys["attested_by"].text(), at=keys["at"].text())
    found = []
    for item in node.items():
        keys = item.mapping("name", "kind", "action")
        if set(keys) != {"name", "kind", "action"}:
            item.refuse("the keys name, kind and action of a downstream copy")
        found.append(Downstream(keys["name"].text(), keys["kind"].text(), keys["action"].text()))
    return tuple(found)


def _with_replicas(node: Node, lines: dict[str, int]) -> Iterator[tuple[Node, Dataset]]:
    """A dataset with its place in the map, and each of its replicas as a dataset of its own:
    `raw_events@1` is the first copy of `raw_events`.
    """
    dataset = _dataset(node, lines)
    yield node, dataset
    listed = node.mapping().get("replicas")
    if listed is None:
        return
    if dataset.location is None:
        listed.refuse(
            "replicas only of a dataset with a location: a table is not copied by objects"
        )
    copies = list(listed.items()) or listed.refuse("at least one location of a replica")
    for number, item in enumerate(copies, 1):
        name = f"{dataset.name}@{number}"
        lines.update({name: item.line, f"{name}/location": item.line})
        place = _location(item)
        yield item, replace(dataset, name=name, location=place, replica_of=dataset.name, loader={})


def _dataset(node: Node, lines: dict[str, int]) -> Dataset:
    keys = node.mapping(
        "name", "layer", "location", "table", "partition", "format", "event_time", *_ROLE_KEYS,
        "json", "elsewhere", "worm", "loader", "treatment", "keep_when", "built_from", "role",
        "columns", "replicas", "engine",
    )  # fmt: skip
    for key in ("name", "layer"):
        if key not in keys:
            node.refuse(f"the key {key} of a dataset")
    if ("location" in keys) == ("table" in keys):
        node.refuse("either location or table, one of the two")
    name = keys["name"].text()
    lines[name] = node.line
    lines.update({f"{name}/{key}": child.line for key, child in keys.items()})
    is_identity = "role" in keys and keys["role"].one_of("identity") == "identity"
    columns = _identity_columns(keys, node) if is_identity else {}
    if "columns" in keys and not is_identity:
        keys["columns"].refuse("columns only where role is identity")
    if "engine" in keys and "table" not in keys:
        keys["engine"].refuse("an engine only of a dataset with a table")
    if "format" in keys:
        keys["format"].one_of("ndjson")
    json_roles = keys["json"].mapping() if "json" in keys else {}
    return Dataset(
        name=name,
        layer=Layer(keys["layer"].one_of(*(layer.value for layer in Layer))),
        location=_location(keys["location"]) if "location" in keys else None,
        table=keys["table"].text() if "table" in keys else None,
        partition=keys["partition"].text() if "partition" in keys else None,
        event_time=keys["event_time"].text() if "event_time" in keys else None,
        roles=_identity_roles(columns) if is_identity else _roles(keys),
        json={column: _roles(n.mapping(*_ROLE_KEYS)) for column, n in json_roles.items()},
        elsewhere=keys["elsewhere"].one_of("replace", "report")
        if "elsewhere" in keys
        else "replace",
        worm=_worm(keys["worm"]) if "worm" in keys else "auto",
        loader=_loader(keys["loader"]) if "loader" in keys else {},
        treatment=_treatment(keys["treatment"]) if "treatment" in keys else Treatment(),
        keep_when=tuple(_keep_when(n) for n in keys["keep_when"].items())
        if "keep_when" in keys
        else (),
        built_from=keys["built_from"].texts() if "built_from" in keys else (),
        is_identity=is_identity,
        identity_columns=columns,
        engine=keys["engine"].one_of(*_ENGINES) if "engine" in keys else "auto",
    )


def _location(node: Node) -> str:
    value = node.text()
    if not re.match(r"s3://[a-z0-9][a-z0-9.-]+/|file:///", value):
        node.refuse("s3://bucket/prefix/ or file:///folder/")
    return value if value.endswith("/") else value + "/"


def _worm(node: Node) -> str:
    return node.mapping("mode").get("mode", node).one_of("auto", "none")


def _loader(node: Node) -> dict[str, str]:
    keys = node.mapping("kind", "dedupe_by", "acknowledged")
    if "kind" not in keys:
        node.refuse("the key kind of a loader")
    kind = keys["kind"].one_of(*LOADERS)
    if "acknowledged" in keys:
        keys["acknowledged"].one_of("true", "false")
    loader = {key: value.text() for key, value in keys.items()}
    if loads_twice(loader) and not is_acknowledged(loader):
        node.refuse(
            f"dedupe_by (the column by which a {kind} loader tells a line that it has), or "
            "acknowledged: true. A rewritten object is new to it: it would load its lines twice"
        )
    return loader


def _roles(keys: Mapping[str, Node]) -> Roles:
    return Roles(
        owner=_users(keys["owner"]) if "owner" in keys else (),
        owner_when=tuple(_owner_when(n) for n in keys["owner_when"].items())
        if "owner_when" in keys
        else (),
        linked=tuple(
            (Kind(kind), child.texts())
            for kind, child in keys["linked"].mapping("anon_id", "device_fp").items()
        )
        if "linked" in keys
        else (),
        mentions=_users(keys["mentions"]) if "mentions" in keys else (),
        derived=keys["derived"].texts() if "derived" in keys else (),
    )


def _users(node: Node) -> tuple[str, ...]:
    keys = node.mapping("user_id")
    return keys["user_id"].texts() if keys else node.refuse("the key user_id with its columns")


def _owner_when(node: Node) -> OwnerWhen:
    keys = node.mapping("where", "user_id")
    if set(keys) != {"where", "user_id"}:
        node.refuse("both keys where and user_id")
    return OwnerWhen(where=_where(keys["where"]), columns=keys["user_id"].texts())


def _where(node: Node) -> Where:
    conditions = node.mapping()
    if not conditions:
        node.refuse("at least one condition")
    return Where(tuple((path, child.texts()) for path, child in conditions.items()))


def _identity_columns(keys: Mapping[str, Node], node: Node) -> dict[str, tuple[str, ...]]:
    wanted = ("identity_id", "user_id", "anon_id", "device_fp", "built_at")
    columns = keys["columns"].mapping(*wanted) if "columns" in keys else {}
    if "user_id" not in columns or "anon_id" not in columns:
        node.refuse("columns with at least user_id and anon_id, where role is identity")
    for key in _ROLE_KEYS:
        if key in keys:
            keys[key].refuse(f"no {key} here: the columns of an identity table give the roles")
    return {key: child.texts() for key, child in columns.items()}


def _identity_roles(columns: Mapping[str, tuple[str, ...]]) -> Roles:
    linked = ((kind, columns.get(kind.value, ())) for kind in (Kind.ANON_ID, Kind.DEVICE_FP))
    return Roles(owner=columns["user_id"], linked=tuple((k, c) for k, c in linked if c))


def _treatment(node: Node) -> Treatment:
    keys = node.mapping("kind", "purpose", "legal_basis", "ground", "until", "approved_by")
    needed: dict[str, tuple[str, ...]] = {
        "delete": (),
        "tombstone": ("purpose", "legal_basis"),
        "keep": ("ground", "until", "approved_by"),
    }
    if "kind" not in keys:
        node.refuse("the key kind of a treatment")
    kind = keys["kind"].one_of(*needed)
    for key in needed[kind]:
        if key not in keys:
            node.refuse(f"the key {key}: treatment {kind} needs {', '.join(needed[kind])}")
    text: Callable[[str], str | None] = lambda key: keys[key].text() if key in keys else None  # noqa: E731
    return Treatment(
        kind=kind,
        purpose=text("purpose"),
        legal_basis=text("legal_basis"),
        ground=text("ground"),
        until=keys["until"].day() if "until" in keys else None,
        approved_by=text("approved_by"),
    )


def _keep_when(node: Node) -> KeepWhen:
    keys = node.mapping("where", "ground", "until")
    if set(keys) != {"where", "ground", "until"}:
        node.refuse("the keys where, ground and until")
    return KeepWhen(_where(keys["where"]), keys["ground"].text(), keys["until"].day())


def _fits_together(
    node: Node, placed: Sequence[tuple[Node, Dataset]], catalog: Catalog | None
) -> None:
    datasets = [dataset for _, dataset in placed]
    if not datasets:
        node.refuse("at least one dataset")
    names = [d.name for d in datasets]
    declared = {d.name for d in datasets if d.replica_of is None}
    for item, dataset in placed:
        if names.count(dataset.name) > 1:
            item.refuse(f"each name once; {dataset.name!r} is the name of another dataset too")
        if dataset.table is not None and catalog is None:
            item.refuse("the key catalog at the top of the map, because this dataset is a table")
        for source in dataset.built_from:
            if source not in declared:
                item.refuse(f"built_from to name datasets of this map; {source!r} is none")
        for other in datasets:
            inside = dataset.location and (other.location or "").startswith(dataset.location)
            if other is not dataset and inside:
                item.refuse(f"a location of its own; that of {other.name!r} lies inside it")
    if sum(d.is_identity for d in datasets) > 1:
        node.refuse("at most one dataset with role identity")
    places = [d.location for d in datasets if d.location] + ([catalog.warehouse] if catalog else [])
    if len({p.startswith("s3://") for p in places}) > 1:
        node.refuse("all places on s3:// or all in folders, not both in one map")
