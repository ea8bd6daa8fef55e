"""One collection of the Qdrant test server: a folder with one shard of the engine and its parameters.

Each update is applied whole before the next begins, as a shard of a real server does.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import qdrant_edge as edge

from tests.support import qdrant_conditions as given
from tests.support import qdrant_resolving as resolving

Json = Mapping[str, Any]

# The engine wants at least one kind of vector where a server's collection may have none.
_PLACEHOLDER = "__none__"
_Do = edge.UpdateOperation


class Collection:
    def __init__(self, folder: Path, params: Json, shard: edge.EdgeShard) -> None:
        self._folder = folder
        self._params = params
        self._shard = shard
        self.unflushed = False

    @classmethod
    def create(cls, folder: Path, body: Json) -> "Collection":
        params = {
            "vectors": body.get("vectors") or {},
            "sparse_vectors": body.get("sparse_vectors") or {},
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        }
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / "params.json").write_text(json.dumps(params))
        shard = edge.EdgeShard.create(str(unfinished / "shard"), _config(params))
        shard.close()
        unfinished.rename(folder)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> "Collection":
        params = json.loads((folder / "params.json").read_text())
        return cls(folder, params, edge.EdgeShard.load(str(folder / "shard")))

    def delete(self) -> None:
        self._shard.close()
        shutil.rmtree(self._folder)

    def flush(self) -> None:
        self._shard.flush()
        self.unflushed = False

    def close(self) -> None:
        self._shard.close()

    def info(self) -> Json:
        found = self._shard.info()
        schema = {
            name: {"data_type": str(each.data_type).rpartition(".")[2].lower(), "points": each.points}
            for name, each in found.payload_schema.items()
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": found.indexed_vectors_count,
            "points_count": found.points_count,
            "segments_count": found.segments_count,
            "config": {"params": self._params, **_DEFAULTS},
            "payload_schema": schema,
        }

    # -- changing ------------------------------------------------------------------------------------

    def _update(self, operation: edge.UpdateOperation) -> None:
        self.unflushed = True
        self._shard.update(operation)

    def create_index(self, body: Json) -> None:
        self._update(_Do.create_field_index(body["field_name"], given.index_of(body["field_schema"])))

    def delete_index(self, field: str) -> None:
        self._update(_Do.delete_field_index(field))

    def upsert(self, body: Json) -> None:
        if points := resolving.upserted(self._shard, body):
            self._update(_Do.upsert_points(points))

    def update_vectors(self, body: Json) -> None:
        ids = {given.point_id(each["id"]) for each in body["points"]}
        if condition := body.get("update_filter"):
            ids = resolving.fulfilling_of(self._shard, ids, condition)
        vectors = [
            edge.PointVectors(given.point_id(each["id"]), given.vector_of(each["vector"]))
            for each in body["points"]
            if given.point_id(each["id"]) in ids
        ]
        if vectors:
            self._update(_Do.update_vectors(vectors))

    def delete_points(self, body: Json) -> None:
        self._chosen(body, _Do.delete_points)

    def delete_vectors(self, body: Json) -> None:
        self._chosen(body, _Do.delete_vectors, body["vector"])

    def set_payload(self, body: Json) -> None:
        self._chosen(body, _Do.set_payload, body["payload"], body.get("key"))

    def overwrite_payload(self, body: Json) -> None:
        self._chosen(body, _Do.overwrite_payload, body["payload"], body.get("key"))

    def delete_payload(self, body: Json) -> None:
        self._chosen(body, _Do.delete_payload, body["keys"])

    def clear_payload(self, body: Json) -> None:
        self._chosen(body, _Do.clear_payload)

    def _chosen(self, body: Json, by_ids: Any, *extra: Any) -> None:
        if ids := resolving.chosen(self._shard, body):
            self._update(by_ids(ids, *extra))

    def batch(self, body: Json) -> list[Json]:
        """Several updates, one after the other; those before one that fails stay."""
        for operation in body["operations"]:
            ((name, content),) = operation.items()
            self.OPERATIONS[name](self, content)
        return [UPDATED] * len(body["operations"])

    OPERATIONS: ClassVar = {
        "upsert": upsert,
        "delete": delete_points,
        "set_payload": set_payload,
        "overwrite_payload": overwrite_payload,
        "delete_payload": delete_payload,
        "clear_payload": clear_payload,
        "update_vectors": update_vectors,
        "delete_vectors": delete_vectors,
    }

    # -- looking -------------------------------------------------------------------------------------

    def retrieve(self, body: Json) -> list[Json]:
        ids = [given.point_id(each) for each in body["ids"]]
        payload = given.payload_selector(body.get("with_payload"), default=True)
        return _records(self._shard.retrieve(ids, payload, body.get("with_vector") or False))

    def scroll(self, body: Json) -> Json:
        offset = body.get("offset")
        if offset is not None and body.get("order_by") is not None:
            raise ValueError("cannot use an offset together with order_by, use order_by.start_from instead")
        request = edge.ScrollRequest(
            offset=None if offset is None else given.point_id(offset),
            limit=body.get("limit") or 10,
            filter=given.filter_of(body.get("filter")),
            with_payload=given.payload_selector(body.get("with_payload"), default=True),
            with_vector=body.get("with_vector") or False,
            order_by=given.order_of(body.get("order_by")),
        )
        records, following = self._shard.scroll(request)
        return {
            "points": _records(records),
            "next_page_offset": None if following is None else str(following),
        }

    def count(self, body: Json) -> Json:
        exact = body.get("exact", True)
        return {"count": self._shard.count(edge.CountRequest(exact, given.filter_of(body.get("filter"))))}

    def facet(self, body: Json) -> Json:
        request = edge.FacetRequest(
            body["key"],
            body.get("limit") or 10,
            exact=bool(body.get("exact")),
            filter=given.filter_of(body.get("filter")),
        )
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in self._shard.facet(request).hits]}

    def query(self, body: Json) -> Json:
        return {"points": _records(self._shard.query(given.query_request(body)))}

    def query_batch(self, body: Json) -> list[Json]:
        return [self.query(each) for each in body["searches"]]


UPDATED = {"operation_id": 0, "status": "completed"}

_DEFAULTS = {
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
    "optimizer_config": {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1_000,
        "default_segment_number": 0,
        "flush_interval_sec": 5,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
}


def _records(found: Sequence[Any]) -> list[Json]:
    records = []
    for each in found:
        record: dict[str, Any] = {"id": each.id if isinstance(each.id, int) else str(each.id)}
        if each.payload is not None:
            record["payload"] = each.payload
        if each.vector is not None:
            record["vector"] = given.vector_json(each.vector)
        if hasattr(each, "score"):
            record |= {"score": each.score, "version": each.version}
        if each.order_value is not None:
            record["order_value"] = each.order_value
        records.append(record)
    return records


def _config(params: Json) -> edge.EdgeConfig:
    vectors = params["vectors"]
    dense = {"": vectors} if "size" in vectors else vectors
    sparse = params["sparse_vectors"]
    if not dense and not sparse:
        sparse = {_PLACEHOLDER: {}}
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(each["size"], getattr(edge.Distance, each["distance"]))
            for name, each in dense.items()
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(
                modifier=edge.Modifier.Idf if each.get("modifier") == "idf" else None
            )
            for name, each in sparse.items()
        },
        max_search_threads=1,
    )
