"""Files of class names: names come out as names, ids as ids, or the file is refused with the forms that are known."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wideresnet.datasets.labels.formats import FORMATS, read_label_file
from wideresnet.errors import ConfigError
from wideresnet.records import Labels

NAMES = ("tench", "goldfish", "great white shark, Carcharodon carcharias", "crane")
IDS = ("n01440764", "n01443537", "n01484850", "n02012849")
ROWS = tuple(enumerate(zip(IDS, NAMES, strict=True)))
SHUFFLED = (2, 0, 3, 1)
Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(content: str | bytes) -> Path:
        file = tmp_path / "labels"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return put


def lines(form: str) -> str:
    """A line for each class in a shuffled order."""
    return "".join(form.format(k=k, id=IDS[k], name=NAMES[k]) + "\n" for k in SHUFFLED)


def quoted(form: str, head: str = "") -> str:
    return head + "".join(form.format(k=k, id=IDS[k], name=f'"{NAMES[k]}"') + "\n" for k in SHUFFLED)


WITHOUT_IDS = {
    "one a line": "".join(f"{name}\n" for name in NAMES),
    "blank lines at the end": "".join(f"{name}\n" for name in NAMES) + "\n \n\n",
    "quoted lines": "".join(f'"{name}",\n' for name in NAMES),
    "JSON list": json.dumps(NAMES),
    "JSON list, one a line": "[" + ",\n".join(map(json.dumps, NAMES)) + "]\n",
    "Python list": repr(list(NAMES)),
    "Python tuple with a name": f"CLASSES = {NAMES!r};\n",
    "index: name": json.dumps({str(k): NAMES[k] for k in SHUFFLED}),
    "name: index": json.dumps({NAMES[k]: k for k in SHUFFLED}, indent=2),
    "printed dict": "{" + ",\n ".join(f"{k}: {NAMES[k]!r}" for k in SHUFFLED) + "}",
    "printed dict in half": "".join(f"{k}: {NAMES[k]!r},\n" for k in SHUFFLED),
    "config": json.dumps({"_name": "x", "id2label": {str(k): NAMES[k] for k in SHUFFLED}, "label2id": {"x": 0}}),
    "config of names": json.dumps({"label2id": {NAMES[k]: k for k in SHUFFLED}}),
    "objects": json.dumps([{"id": k, "name": NAMES[k]} for k in SHUFFLED]),
    "categories": json.dumps({"categories": [{"id": k, "name": NAMES[k]} for k in SHUFFLED]}),
    "k name": lines("{k} {name}"),
    "k  name, in columns": lines("{k:>3}  {name}"),
    "k: name": lines("{k}: {name}"),
    "k:name": lines("{k}:{name}"),
    "k,name": lines("{k},{name}"),
    "k;name": lines("{k};{name}"),
    "k<TAB>name": lines("{k}\t{name}"),
    "k - name": lines("{k} - {name}"),
    "k. name": lines("{k}. {name}"),
    "name k": lines("{name} {k}"),
    "name<TAB>k": lines("{name}\t{k}"),
    "CSV": quoted("{k},{name}", "index,label\n"),
    "CSV, names unquoted": "index,label\n" + lines("{k},{name}"),
    "CSV of a data frame": quoted("{k},{name}", ",class\n"),
    "CSV with semicolons": "class_id;class_name\n" + lines("{k};{name}"),
    "CSV with more columns": quoted("{name},animal,{k}", "name,kind,index\n"),
    "YAML": "names:\n" + "".join(f"  {k}: {NAMES[k]}\n" for k in SHUFFLED),
}
WITH_IDS = {
    "id<TAB>name": "".join(f"{id_}\t{name}\n" for _, (id_, name) in ROWS),
    "id name": "".join(f"{id_} {name}\n" for _, (id_, name) in ROWS),
    "id,name": "wnid,name\n" + "".join(f'{id_},"{name}"\n' for _, (id_, name) in ROWS),
    "id: name": json.dumps(dict(zip(IDS, NAMES, strict=True))),
    "k id name": lines("{k} {id} {name}"),
    "index: [id, name]": json.dumps({str(k): [IDS[k], NAMES[k]] for k in SHUFFLED}),
    "[[id, name]]": json.dumps(list(zip(IDS, NAMES, strict=True))),
    "CSV": quoted("{k};{id};{name}", "index;wnid;name\n"),
}


@pytest.mark.parametrize("text", WITHOUT_IDS.values(), ids=WITHOUT_IDS)
def test_every_form_gives_the_names_in_the_order_of_the_index(write: Write, text: str) -> None:
    assert read_label_file(write(text)).labels == Labels(NAMES)


@pytest.mark.parametrize("text", WITH_IDS.values(), ids=WITH_IDS)
def test_ids_come_out_as_ids(write: Write, text: str) -> None:
    assert read_label_file(write(text)).labels == Labels(NAMES, IDS)


def test_ids_alone_get_imagenets_names_where_it_has_some(write: Write) -> None:
    """So does Tiny ImageNet's wnids.txt, some of whose classes are not among the thousand."""
    labels = read_label_file(write("n01443537\nn99999999\n")).labels
    assert labels == Labels(("goldfish, Carassius auratus", "n99999999"), ("n01443537", "n99999999"))


@pytest.mark.parametrize(
    "names",
    [
        ("7 up", "3 musketeers", "99 red balloons"),
        ("cat", "7 up", "dog"),
        ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
        ("1 euro", "2 euro", "5 euro", "10 euro"),
        ("class 0", "class 1", "class 2"),
        ("great white shark, Carcharodon carcharias", "tench, Tinca tinca"),
        ("001.Black_footed_Albatross", "002.Laysan_Albatross"),
        ("0", "1", "2"),
        ("5 a", "1 b", "2 c"),
        ("(none)", "[other]", "it's"),
        ("null", "true", "0.5 l"),
    ],
)
def test_numbers_and_commas_in_names_are_parts_of_them(write: Write, names: tuple[str, ...]) -> None:
    assert read_label_file(write("".join(f"{name}\n" for name in names))).labels == Labels(names)


def test_indices_from_one_are_read_and_that_is_said(write: Write) -> None:
    file = read_label_file(write("1. tench\n2. goldfish\n"))
    assert file.labels == Labels(("tench", "goldfish"))
    assert "counted from 1" in file.notes[0]


def test_a_guess_is_said_and_a_plain_list_is_none(write: Write) -> None:
    assert read_label_file(write("a\nb\n")).notes == ()
    assert read_label_file(write('["a", "b"]')).notes == ()
    assert "was read as lines with indices" in read_label_file(write("0 a\n1 b\n")).notes[0]
    assert "one line of names" in read_label_file(write("a, b, c\n")).notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a\n\nb\n", "line 2 of 3 is blank"),
        ("0 a\n1 b\n3 c\n", "2 is missing"),
        ("0,a\n0,b\n", "1 is missing"),
        ("a,0\nb,2\n", "1 is missing"),
        ('{"0": "a", "2": "b"}', "1 is missing"),
        ('{"a": 0, "b": true}', "1 is missing"),
        ('{"0": {"x": 1}}', "expected a name"),
        ("[[1, 2, 3]]", "expected a name"),
        ('["a",\n"b",\n', "part of another form"),
        ("{0: 'a',\n1: 'b',\n", "part of another form"),
        ("item {\n  id: 1\n  name: 'a'\n}\n", "part of another form"),
        ('{"a": 1}\n{"b": 2}\n', "part of another form"),
        ("a,x,0\nb,y,1\n", "unclear which holds the names"),
        ("n1\tcat\ndog\n", "line 2 of the label list"),
        ("n1\tcat\nn1\tdog\n", "an id occurs twice"),
        ('["a\\tb", "c"]', "part of another form"),
        ('["a\\u001b[31m", "c"]', "part of another form"),
        (b"caf\xe9\n\x81\n", "part of another form"),
        ("a" * 2000 + "\nb\n", "more than 1000 characters"),
        (b"\x80\x00\x01PK", "zero bytes"),
        ("names: [cat, dog]\n", "'names: .cat' looks like a part of another format"),
        ("- cat\n- dog\n", "'- cat' looks like a part of another format"),
    ],
)
def test_other_files_are_refused_with_the_forms_that_are_known(write: Write, text: str | bytes, message: str) -> None:
    file = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_label_file(file)
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_a_first_line_of_another_number_is_not_taken_for_the_heads_of_columns(write: Write) -> None:
    """Else its class would be lost, and all others stay."""
    with pytest.raises(ConfigError, match="0 is missing"):
        read_label_file(write("5,a\n1,b\n2,c\n"))


def test_imagenets_thousand_counted_from_one_may_be_in_another_order(write: Write) -> None:
    with pytest.raises(ConfigError, match="1 to 1000") as caught:
        read_label_file(write("".join(f"{k} class{k}\n" for k in range(1, 1001))))
    assert "in the order of the network's outputs" in caught.value.hint


def test_the_number_between_an_id_and_a_name_is_an_index(write: Write) -> None:
    """As in map_clsloc.txt, in whose numbers no network has its outputs."""
    content = read_label_file(write(lines("{id} {k} {name}")))
    assert (content.labels.names, content.labels.ids) == (NAMES, IDS)
    thousand = "".join(f"n{k:08d} {k} class_{k}\n" for k in range(1, 1001))
    with pytest.raises(ConfigError, match="may be ImageNet's in the order of the development kit"):
        read_label_file(write(thousand))


def test_accents_are_composed(write: Write) -> None:
    assert read_label_file(write(unicodedata.normalize("NFD", "Äpfel\nNüsse\n"))).labels == Labels(("Äpfel", "Nüsse"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends_of_other_systems(write: Write, encoding: str, end: str) -> None:
    file = read_label_file(write(f"0;Äpfel{end}1;Nüsse{end}".encode(encoding)))
    assert file.labels == Labels(("Äpfel", "Nüsse"))


def test_an_assumed_encoding_is_said(write: Write) -> None:
    file = read_label_file(write("Äpfel\nNüsse\n".encode("cp1252")))
    assert file.labels == Labels(("Äpfel", "Nüsse"))
    assert "Windows-1252" in file.notes[0]


def test_a_large_file_is_not_read(write: Write) -> None:
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        read_label_file(write(b"a\n" * 2**21 + b"b"))


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "[" + "-" * 5000 + "1]", "{'a': ['\\d'" + "]}"])
def test_deep_and_odd_values_are_refused_without_a_traceback(write: Write, text: str) -> None:
    with pytest.raises(ConfigError):
        read_label_file(write(text))


def test_the_forms_are_named_in_the_hint(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        read_label_file(write("item {\n}\n"))
    assert caught.value.hint == FORMATS


PIECES = st.lists(st.sampled_from([*"012 \t,;:\n\r\"'[]{}é\x85\x0b\0-.", "cat", "n01440764", "index"]), max_size=25)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), PIECES.map(lambda pieces: "".join(pieces).encode())))
def test_no_bytes_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is read has as many ids as names, or none; no name is empty or holds what would break a line."""
    file = tmp_path_factory.getbasetemp() / "fuzz"
    file.write_bytes(content)
    try:
        labels = read_label_file(file).labels
    except ConfigError:
        return
    assert all(name.strip() and name.encode() and "\n" not in name for name in labels.names)
    assert len(labels.ids) in (0, len(labels.names))


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 4, 5, 6, 7, 8, 8], [*range(2, 12)], [*range(1, 10), 11]])
def test_lines_whose_numbers_are_nearly_indices_are_refused(tmp_path: Path, numbers: list[int]) -> None:
    """An index that contradicts its line became part of the name."""
    file = tmp_path / "names.txt"
    file.write_text("".join(f"{number} kind{k}\n" for k, number in enumerate(numbers)))
    with pytest.raises(ConfigError, match="its indices are not 0 to 9, each once"):
        read_label_file(file)
