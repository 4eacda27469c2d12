"""A dataset version described in Croissant 1.0 (JSON-LD, docs.mlcommons.org/croissant/docs/croissant-spec.html), so that tools
which know nothing of the bridge can find, check and read its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hitl_bridge.core.dataset.schema import decision_schema, payload_schema
from hitl_bridge.core.model import JSON

if TYPE_CHECKING:
    import pyarrow as pa

PATH = "data/croissant.json"

_PARQUET = "application/x-parquet"
_CROISSANT = "http://mlcommons.org/croissant/"
_TERMS = (
    "citeAs column conformsTo extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path recordSet references regex repeated replace separator source subField transform"
)


def describe(version: str, files: Mapping[str, str], at: str, counts: str) -> str:
    """The description of a version, as the text of a file beside the folders of data.

    Args:
        files: SHA-256 by path (`data/decisions/v0.1.0.parquet`) of every file of the version and of those before it.
        at: the date of the version, ISO 8601.
        counts: what is in it, in a sentence.
    """
    objects = [_file(path, files[path]) for path in sorted(files)]
    said: dict[str, JSON] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": f"{_CROISSANT}1.0",
        "name": "decisions",
        "description": f"Decisions of reviewers on predictions of a model, kept by HITL Bridge. {counts} One Parquet file a "
        "version holds what it added, changed or removed; of each item the row of its highest revision, in the latest version, "
        "counts.",
        "version": version.removeprefix("v"),
        "datePublished": at,
        "distribution": objects,
        "recordSet": [_records("decisions", version, decision_schema()), _records("payloads", version, payload_schema())],
    }
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def read_files(text: str) -> Mapping[str, str] | None:
    """SHA-256 by path of the files that a description names; None for a text that is none of ours."""
    try:
        said = json.loads(text)
        return {f"data/{each['contentUrl']}": str(each["sha256"]) for each in said["distribution"]}
    except (ValueError, KeyError, TypeError):
        return None


def _file(path: str, sha256: str) -> Mapping[str, JSON]:
    place = path.removeprefix("data/")
    return {
        "@type": "cr:FileObject",
        "@id": place,
        "name": place,
        "contentUrl": place,
        "encodingFormat": _PARQUET,
        "sha256": sha256,
    }


def _records(kind: str, version: str, schema: pa.Schema) -> Mapping[str, JSON]:
    """The rows of this version's own file."""
    source = f"{kind}/{version}.parquet"
    return {
        "@type": "cr:RecordSet",
        "@id": kind,
        "name": kind,
        "description": f"What {version} says of {kind}; earlier files have the same columns, or fewer.",
        "field": [_field(kind, source, field) for field in schema],
    }


def _field(kind: str, source: str, field: pa.Field) -> Mapping[str, JSON]:
    import pyarrow as pa

    many = pa.types.is_list(field.type)
    said: dict[str, JSON] = {
        "@type": "cr:Field",
        "@id": f"{kind}/{field.name}",
        "name": field.name,
        "dataType": _data_type(field.type.value_type if many else field.type),
        "source": {"fileObject": {"@id": source}, "extract": {"column": field.name}},
    }
    return {**said, "repeated": True} if many else said


def _data_type(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _context() -> Mapping[str, JSON]:
    """The context that the specification asks for (its appendix 1)."""
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "cr": _CROISSANT,
        "dct": "http://purl.org/dc/terms/",
        "rai": f"{_CROISSANT}RAI/",
        "sc": "https://schema.org/",
        **{name: f"cr:{name}" for name in _TERMS.split()},
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
    }
