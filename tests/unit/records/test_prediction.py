"""A prediction as Python prints it and a notebook shows it."""

from __future__ import annotations

from dataclasses import replace

from wideresnet.records import LabelScore, Prediction

CAT = Prediction("cat.png", (LabelScore(3, "cat", 0.75), LabelScore(5, "dog", 0.25)))


def test_an_unknown_image_is_said_to_be_so() -> None:
    unknown = replace(CAT, p_known=0.0008, unknown=True)
    assert repr(unknown) == "<Prediction cat.png: unknown (0.08 %) · cat 75.0 % · dog 25.0 %>"
    assert "cat.png<br>unknown (0.08 %)</caption>" in unknown._repr_html_()
    assert repr(replace(CAT, p_known=0.03, unknown=False)).startswith("<Prediction cat.png: unusual (3 %) · cat")
    assert repr(replace(CAT, p_known=0.5, unknown=False)) == repr(CAT)


def test_the_set_is_shown() -> None:
    pair = replace(CAT, set=("cat", "<dog>"), p_known=0.5, unknown=False)
    assert repr(pair) == "<Prediction cat.png: cat 75.0 % · dog 25.0 %  set: cat, <dog>>"
    assert "cat.png<br>set: cat, &lt;dog&gt;</caption>" in pair._repr_html_()


def test_names_of_any_bytes_are_one_line_of_valid_text() -> None:
    odd = Prediction("caf\udce9\n\x1b猫.png", (LabelScore(0, "a\nb", 1.0),))
    assert repr(odd) == r"<Prediction caf\udce9\n\x1b猫.png: a\nb 100.0 %>"
    page = odd._repr_html_()
    assert (r"caf\udce9\n\x1b猫.png" in page, r"a\nb" in page, "\n" in page) == (True, True, False)
    assert page.encode()
