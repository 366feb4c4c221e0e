from __future__ import annotations

import json
from dataclasses import replace

from wideresnet.records.prepared import PreparedData
from wideresnet.report.prepared import to_json, to_text

WHOLE = PreparedData("ImageNet val", "val.csv", 50_000, 50_000, 1000, 1000, ("devkit.tar.gz",))


def test_the_whole_set_is_told_in_two_lines():
    assert to_text(WHOLE) == (
        "val.csv: 50,000 of the 50,000 images of ImageNet val, 1,000 classes, 1,000 of them complete\n"
        "  labels from devkit.tar.gz"
    )


def test_what_is_missing_is_counted_and_begun_to_list():
    part = replace(WHOLE, pictures=2, absent=tuple(f"p{k}" for k in range(9)), left_out=("a.jpg",))
    said = to_text(part)
    assert "absent: p0, p1, p2, p3, p4 and 4 more" in said
    assert "1 left out, not of the set or without a label: a.jpg" in said


def test_copies_are_told():
    assert "out: 0 hard links, 50,000 copies made" in to_text(replace(WHOLE, folders="out", copied=50_000))


def test_the_document_is_plain_json_and_whole():
    values = json.loads(json.dumps(to_json(WHOLE)))
    assert (values["schema"], values["whole"], values["pictures"]) == (1, True, 50_000)
    assert to_json(replace(WHOLE, left_out=("a.jpg",)))["whole"] is False
