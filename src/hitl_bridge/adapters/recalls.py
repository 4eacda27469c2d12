"""Recalls out of the bridge: as a file, and as signed calls of a webhook."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import requests

from hitl_bridge.core.audits.lots import Lot
from hitl_bridge.core.model import JSON
from hitl_bridge.errors import OutsideUnavailable, UsageError
from hitl_bridge.ports import Released

SIGNATURE = "X-Hitl-Bridge-Signature"
DELIVERY = "X-Hitl-Bridge-Delivery"
AT_ONCE = 5_000
"""Items of one call."""

_SECONDS = (10.0, 60.0)
_FIELDS = ("item_id", "revision", "model_version", "scenario", "risk", "output")


def write_recall(path: Path, released: Iterable[Released]) -> int:
    """A line for each item: CSV where the name ends so, else JSONL. Written beside and renamed: never half a file."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8", newline="") as stream:
            written = _csv(stream, released) if path.suffix == ".csv" else _jsonl(stream, released)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.", remedy="Name another file with --out.") from None
    return written


def _jsonl(stream: IO[str], released: Iterable[Released]) -> int:
    count = 0
    for each in released:
        stream.write(json.dumps(_row(each), ensure_ascii=False) + "\n")
        count += 1
    return count


def _csv(stream: IO[str], released: Iterable[Released]) -> int:
    writer, count = csv.DictWriter(stream, _FIELDS), 0
    writer.writeheader()
    for each in released:
        writer.writerow(_row(each) | {"output": json.dumps(each.output, ensure_ascii=False)})
        count += 1
    return count


def _row(each: Released) -> dict[str, JSON]:
    return {name: getattr(each, name) for name in _FIELDS}


class RecallWebhook:
    """Implements `services.audits.recall.RecallHook`: POSTs of at most 5,000 items each, the same delivery id whenever a part is
    sent again, signed: `sha256=` and the hex HMAC-SHA256 of the body."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()

    def deliver(self, lot: Lot, released: Iterator[Released]) -> int:
        told, part = 0, 0
        some = list(islice(released, AT_ONCE))
        while True:
            following = list(islice(released, AT_ONCE))
            part += 1
            self._post(lot, part, some, last=not following)
            told += len(some)
            if not following:
                return told
            some = following

    def _post(self, lot: Lot, part: int, some: list[Released], *, last: bool) -> None:
        delivery = f"{lot.lot_id}/{part}"
        named = {"lot_id": lot.lot_id, "model_version": lot.model_version, "policy_version": lot.policy_version}
        period = {"starts_at": lot.starts_at.isoformat(), "ends_at": lot.ends_at.isoformat()}
        items = [{name: value for name, value in _row(each).items() if name != "output"} for each in some]
        said = {"delivery": delivery, **named, **period, "part": part, "last": last, "items": items}
        body = json.dumps(said, ensure_ascii=False).encode()
        signed = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", DELIVERY: delivery, SIGNATURE: signed}
        try:
            answer = requests.post(self._url, data=body, headers=headers, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise _not_taken(lot, f"it can't be reached ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            raise _not_taken(lot, f"it answered {answer.status_code}")


def _not_taken(lot: Lot, why: str) -> OutsideUnavailable:
    return OutsideUnavailable(
        f"audit.recall_webhook did not take the recall of lot {lot.lot_id}: {why}.",
        remedy="It is told again by the next cycle, or by `hitl-bridge recall`.",
    )
