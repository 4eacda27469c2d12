from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hitl_bridge.core.dataset.near_images import SIDE, NearImages, Picture
from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.params import PrepareParams
from hitl_bridge.stages.prepare import prepare
from hitl_bridge.stages.snapshot import read_examples
from tests.stages.pictures import COPIES, compressed, digits, uri
from tests.stages.workspaces import Row, report, write_lines

THRESHOLD = PrepareParams().near_images or 0


def small(picture: Image.Image) -> Picture:
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("change", COPIES)
def test_copies_of_a_picture_are_found(change: str) -> None:
    scans, _ = digits(100)
    found = [NearImages([small(scan)], THRESHOLD).have([small(COPIES[change](scan))])[0] for scan in scans]
    assert sum(found) >= 98


def test_a_shift_by_a_sixty_fourth_is_mostly_found_and_one_by_an_eighth_is_another_picture() -> None:
    scans, _ = digits(100)

    def found(points: int) -> int:
        shifted = [Image.fromarray(np.roll(np.asarray(scan), points, axis=1)) for scan in scans]
        return sum(NearImages([small(a)], THRESHOLD).have([small(b)])[0] for a, b in zip(scans, shifted, strict=True))

    assert found(1) >= 50
    assert found(8) == 0


@pytest.mark.parametrize("side", [8, 64])
def test_another_writing_of_the_same_digit_is_rarely_taken_for_a_copy_and_another_digit_never(side: int) -> None:
    scans, shown = digits(1797, side)
    pictures = [small(scan) for scan in scans]
    points = np.stack([picture.ravel() for picture in pictures]).astype(float)
    near = np.triu(np.corrcoef(points) >= THRESHOLD, 1)

    first, second = near.nonzero()
    assert all(shown[a] == shown[b] for a, b in zip(first, second, strict=True))
    assert len({*first.tolist(), *second.tolist()}) <= 0.01 * len(scans) + 1

    held, others = pictures[:400], pictures[400:]
    assert NearImages(held, THRESHOLD).have(others) == near[:400, 400:].any(axis=0).tolist()


def test_pictures_of_one_shade_are_like_each_other_and_like_nothing_else() -> None:
    black, white = (np.full((SIDE, SIDE), shade, np.uint8) for shade in (0, 255))
    dot = black.copy()
    dot[3, 3] = 9

    assert NearImages([black, dot], 1.0).have([white, dot]) == [True, True]
    assert NearImages([dot], 0.9).have([white]) == NearImages([black], 0.9).have([dot]) == [False]
    assert NearImages([], 0.9).have([black]) == [False]
    assert NearImages([black], 0.9).have([]) == []


@pytest.fixture
def scanned(workspace: Path) -> Path:
    """A workspace of digits with copies in the training: of held-out ones under another name, brightness or format."""
    (workspace / "hitl.yaml").write_text(f"task: image-classification\nlabels: {json.dumps(list('0123456789'))}\n")
    params = (workspace / "params.yaml").read_text().replace("trainer: sklearn-text", "trainer: sklearn-image")
    (workspace / "params.yaml").write_text(params)
    scans, shown = digits(300)
    (workspace / "scans").mkdir()
    compressed(scans[200], 60).save(workspace / "scans/held again.jpg", quality=60)

    def row(item_id: str, image: str, place: int) -> Row:
        return {"item_id": item_id, "input": {"image": image}, "output": {"label": str(shown[place])}}

    write_lines(workspace / "data/base/holdout.jsonl", [row(f"h{n}", uri(scans[n]), n) for n in range(200, 300)])
    train = [row(f"t{n}", uri(scans[n]), n) for n in range(200)]
    train += [row("again", "scans/held again.jpg", 200), row("darker", uri(COPIES["darker and flatter"](scans[210])), 210)]
    write_lines(workspace / "data/base/train.jsonl", train)
    return workspace


def leakage(root: Path) -> Any:
    return report(root, "data.json")["leakage"]


def trained_on(root: Path) -> set[str]:
    return {example.item_id for example in read_examples(root / "data/snapshot/train.parquet")}


def test_an_image_that_is_nearly_one_that_measures_does_not_train_and_the_gate_cites_the_count(scanned: Path) -> None:
    prepare(scanned)

    proof = leakage(scanned)
    assert {"again", "darker"}.isdisjoint(trained_on(scanned))
    assert proof["near_duplicates_left_out"] == 202 - len(trained_on(scanned)) <= 2 + 2
    assert (proof["checked"], proof["threshold"], proof["images_not_read"]) == (True, 0.99, 0)
    assert proof["shared_with_train"]["holdout"]["near_duplicate"] == 0

    finetune(scanned)
    evaluate(scanned)
    gate(scanned)
    cited = report(scanned, "verdict.json")["leakage"]
    assert {**cited, **proof} == cited
    assert "correlation of pictures" in (scanned / "reports/verdict.md").read_text()


def test_an_image_that_can_not_be_read_here_is_like_no_other_and_the_proof_counts_it(scanned: Path) -> None:
    (scanned / "scans/held again.jpg").write_bytes(b"no picture")

    prepare(scanned)

    assert "again" in trained_on(scanned)
    assert leakage(scanned)["images_not_read"] == 1


def test_without_a_threshold_images_are_compared_by_their_address_to_the_letter(scanned: Path) -> None:
    params = (scanned / "params.yaml").read_text().replace("near_images: 0.99", "near_images: null")
    (scanned / "params.yaml").write_text(params)
    base = {"output": {"label": "1"}}
    write_lines(
        scanned / "data/base/train.jsonl", [{"item_id": f"{n}", "input": {"image": n}, **base} for n in ("a.png", "A.png")]
    )
    write_lines(scanned / "data/base/holdout.jsonl", [{"item_id": "h", "input": {"image": "a.png"}, **base}])

    prepare(scanned)

    assert trained_on(scanned) == {"A.png"}
    assert leakage(scanned)["method"] == "equal inputs only"
