"""What a Qdrant REST request says in JSON, as objects of the engine: ids, filters, vectors, queries, indexes.

What is not known here raises ValueError, which the server answers with 400, as Qdrant does.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import qdrant_edge as edge

Json = Mapping[str, Any]

_RANGES = ("gt", "gte", "lt", "lte")


def point_id(value: Any) -> int | UUID:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise ValueError(
        f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID"
    )


def filter_of(given: Json | None) -> edge.Filter | None:
    if given is None:
        return None
    _known(given, {"must", "should", "must_not", "min_should"})
    least = given.get("min_should")
    return edge.Filter(
        must=_conditions(given.get("must")),
        should=_conditions(given.get("should")),
        must_not=_conditions(given.get("must_not")),
        min_should=least and edge.MinShould(_conditions(least["conditions"]), least["min_count"]),
    )


def _conditions(given: Any) -> list[Any] | None:
    if given is None:
        return None
    return [_condition(each) for each in (given if isinstance(given, list) else [given])]


def _condition(given: Json) -> Any:
    match given:
        case {"has_id": ids}:
            return edge.HasIdCondition({point_id(each) for each in ids})
        case {"has_vector": name}:
            return edge.HasVectorCondition(name)
        case {"is_empty": {"key": key}}:
            return edge.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return edge.IsNullCondition(key)
        case {"nested": {"key": key, "filter": inner}}:
            return edge.NestedCondition(key, filter_of(inner))
        case {"key": key}:
            return _field_condition(key, {name: value for name, value in given.items() if name != "key"})
        case _:
            inner = filter_of(given)
            assert inner is not None
            return inner


def _field_condition(key: str, given: Json) -> edge.FieldCondition:
    stated = {name: value for name, value in given.items() if value is not None}
    match stated:
        case {"match": wanted}:
            return edge.FieldCondition(key, match=_match(wanted))
        case {"range": limits}:
            _known(limits, set(_RANGES))
            return edge.FieldCondition(key, range=edge.RangeFloat(**limits))
        case {"values_count": limits}:
            return edge.FieldCondition(key, values_count=edge.ValuesCount(**limits))
        case _:
            raise ValueError(f"condition on {key} is not understood: {dict(given)}")


def _match(given: Json) -> Any:
    match given:
        case {"value": value}:
            return edge.MatchValue(value)
        case {"any": values}:
            return edge.MatchAny(values)
        case {"except": values}:
            return edge.MatchExcept(values)
        case {"text": text}:
            return edge.MatchText(text)
        case _:
            raise ValueError(f"match is not understood: {dict(given)}")


def _known(given: Json, names: set[str]) -> None:
    if unknown := set(given) - names:
        raise ValueError(f"unknown field {min(unknown)}")


def vector_of(given: Any) -> Any:
    """A dense list, a sparse vector, or several by name; a point need not have any."""
    if given is None:
        return {}
    if isinstance(given, dict):
        if "indices" in given:
            return edge.SparseVector(given["indices"], given["values"])
        return {name: vector_of(each) for name, each in given.items()}
    return given


def vector_json(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    if isinstance(vector, dict):
        return {name: vector_json(each) for name, each in vector.items()}
    return vector


def points_of(body: Json) -> list[edge.Point]:
    """The points of an upsert, as a list or as columns."""
    if columns := body.get("batch"):
        ids, payloads, vectors = columns["ids"], columns.get("payloads"), columns["vectors"]
        named = isinstance(vectors, dict)
        rows = [
            {
                "id": each,
                "vector": {name: values[n] for name, values in vectors.items()} if named else vectors[n],
                "payload": payloads[n] if payloads else None,
            }
            for n, each in enumerate(ids)
        ]
    else:
        rows = body["points"]
    return [
        edge.Point(point_id(row["id"]), vector_of(row.get("vector")), row.get("payload") or {})
        for row in rows
    ]


def payload_selector(given: Any, *, default: bool) -> Any:
    match given:
        case None:
            return default
        case {"include": keys}:
            return edge.PayloadSelector.Include(keys)
        case {"exclude": keys}:
            return edge.PayloadSelector.Exclude(keys)
        case _:
            return given


def order_of(given: Any) -> edge.OrderBy | None:
    if given is None:
        return None
    if isinstance(given, str):
        return edge.OrderBy(given)
    direction = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc, None: None}[given.get("direction")]
    return edge.OrderBy(given["key"], direction, given.get("start_from"))


def query_of(given: Any, using: str | None) -> Any:
    match given:
        case None:
            return None
        case {"order_by": order}:
            return order_of(order)
        case {"nearest": vector}:
            return edge.Query.Nearest(vector_of(vector), using=using or "")
        case {"fusion": "rrf"}:
            return edge.Fusion.Rrf()
        case {"indices": _} | list():
            return edge.Query.Nearest(vector_of(given), using=using or "")
        case _:
            raise ValueError(f"query is not understood: {given}")


def query_request(body: Json) -> edge.QueryRequest:
    params = body.get("params") or {}
    return edge.QueryRequest(
        limit=body.get("limit") or 10,
        offset=body.get("offset"),
        query=query_of(body.get("query"), body.get("using")),
        prefetches=[_prefetch(each) for each in _listed(body.get("prefetch"))],
        with_vector=body.get("with_vector") or False,
        with_payload=payload_selector(body.get("with_payload"), default=False),
        filter=filter_of(body.get("filter")),
        score_threshold=body.get("score_threshold"),
        params=edge.SearchParams(hnsw_ef=params.get("hnsw_ef"), exact=bool(params.get("exact"))),
    )


def _prefetch(given: Json) -> edge.Prefetch:
    return edge.Prefetch(
        limit=given.get("limit") or 10,
        query=query_of(given.get("query"), given.get("using")),
        prefetches=[_prefetch(each) for each in _listed(given.get("prefetch"))],
        filter=filter_of(given.get("filter")),
        score_threshold=given.get("score_threshold"),
    )


def _listed(given: Any) -> list[Any]:
    return [] if given is None else given if isinstance(given, list) else [given]


def index_of(given: Any) -> Any:
    """The schema of a payload index: a type, or a type with parameters."""
    if isinstance(given, str):
        return getattr(edge.PayloadSchemaType, given.capitalize())
    parameters = {name: value for name, value in given.items() if name != "type" and value is not None}
    kinds = {
        "keyword": edge.KeywordIndexParams,
        "integer": edge.IntegerIndexParams,
        "uuid": edge.UuidIndexParams,
    }
    if given["type"] not in kinds:
        raise ValueError(f"parameters of an index of type {given['type']} are not understood")
    return kinds[given["type"]](**parameters)
