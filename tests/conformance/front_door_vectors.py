"""Reads front_door_vectors.json: one request each, what our frontend answers, and where kinesalite differs and why.

A vector holds `name`, the request (`operation` or `target`, `method`, `content_type`, and `json` or `raw`), and the
answer: `status` and one of `type` with `message` or `violations`, `cbor_type`, `body`, or nothing for a success.
`violations` may come in any order, as from the service. `kinesalite` holds `why`, and the members that differ there, or
`skip` where it cannot be asked.

`{"$text": [t, n]}` stands for t repeated n times, `{"$base64": n}` for n zero bytes, `{"$list": [x, n]}` for n times x.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STREAM = "conformance"
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Expected:
    """An answer as a vector states it; `message` None means that no message is sent, "*" that any may be."""

    status: int
    type: str | None
    message: str | None
    violations: tuple[str, ...]
    cbor_type: str | None
    body: str | None


@dataclass(frozen=True)
class Vector:
    """One request and its answers."""

    name: str
    method: str
    headers: dict[str, str]
    body: bytes
    expected: Expected
    kinesalite: Expected | None


def read_vectors() -> list[Vector]:
    """Read all vectors."""
    text = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    return [_vector_of(document) for document in json.loads(text)]


def violations_of(message: str) -> tuple[str, ...]:
    """Split a ValidationException's text into its violations, sorted; the stated number must be theirs."""
    head, _, rest = message.partition(" detected: ")
    violations = rest.split("; ")
    plural = "s" if len(violations) > 1 else ""
    assert head == f"{len(violations)} validation error{plural}"
    return tuple(sorted(violations))


def _vector_of(document: dict[str, Any]) -> Vector:
    target = document.get("target", f"Kinesis_20131202.{document.get('operation', 'PutRecord')}")
    content_type = document.get("content_type", JSON)
    headers = {} if target is None else {"X-Amz-Target": target}
    if content_type is not None:
        headers["Content-Type"] = content_type
    body = document["raw"] if "raw" in document else json.dumps(_expanded(document["json"]))
    difference = document.get("kinesalite", {})
    return Vector(
        name=document["name"],
        method=document.get("method", "POST"),
        headers=headers,
        body=body.encode(),
        expected=_expected_of(document),
        kinesalite=None if difference.get("skip") else _expected_of({**document, **_complete(difference)}),
    )


def _complete(difference: dict[str, Any]) -> dict[str, Any]:
    """Complete a difference: with another type or other violations, our own text does not hold there."""
    return {"message": None, "violations": [], **difference} if difference else {}


def _expected_of(document: dict[str, Any]) -> Expected:
    return Expected(
        status=document["status"],
        type=document.get("type"),
        message=document.get("message"),
        violations=tuple(sorted(_text_of(violation) for violation in document.get("violations", []))),
        cbor_type=document.get("cbor_type"),
        body=document.get("body"),
    )


def _text_of(parts: str | list[Any]) -> str:
    return parts if isinstance(parts, str) else "".join(_expanded(part) for part in parts)


def _expanded(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    match value:
        case {"$text": [text, times]}:
            return text * times
        case {"$base64": size}:
            return b64encode(bytes(size)).decode()
        case {"$list": [item, times]}:
            return [_expanded(item)] * times
        case dict():
            return {name: _expanded(member) for name, member in value.items()}
        case list():
            return [_expanded(item) for item in value]
        case _:
            return value
