"""CSV and JSON lines: what is read, and that anything else names its line."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.errors import DataError
from compress.readers import table
from compress.readers.table import Columns, read_table, table_shape
from compress.readers.texts import Texts

TEXT = Columns("label", text="text")
REVIEWS = 'text,label\n"good, really",pos\nbad,neg\n"two\nlines",pos\n'


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_texts_with_commas_and_line_breaks(file):
    raw = read_table(file(REVIEWS), TEXT)

    assert raw.x_train == Texts(["good, really", "bad", "two\nlines"])
    assert (raw.y_train.tolist(), raw.classes, raw.x_test, raw.group) == ([1, 0, 1], ("neg", "pos"), None, None)
    assert table_shape(file(REVIEWS), TEXT) == (0, 2)


def test_the_same_rows_as_json_lines(file):
    rows = [{"text": t, "label": y, "id": i} for i, (t, y) in enumerate([("good", 1), ("bad", 0), ("", 1.0)])]
    raw = read_table(file("\n\n".join(map(json.dumps, rows)), "t.jsonl"), TEXT)

    assert (list(raw.x_train), raw.y_train.tolist(), raw.classes) == (["good", "bad", ""], [1, 0, 1], ("0", "1"))


def test_a_table_of_numbers_takes_every_column_without_another_role(file):
    path = file("\ufeffa,who,b,label,part\n1,x,2.5,10,train\n3,y,-4e1,9,dev\n5,x,6,10,test\n7,z,8,9,train\n")
    raw = read_table(path, Columns("label", split="part", group="who"))

    np.testing.assert_array_equal(raw.x_train, np.array([[1, 2.5], [7, 8]], np.float32))
    assert (raw.x_train.dtype, raw.x_validation.tolist(), raw.x_test.tolist()) == (np.float32, [[3, -40]], [[5, 6]])
    assert (raw.classes, raw.y_train.tolist(), raw.group.tolist()) == (("9", "10"), [1, 0], ["x", "z"])
    assert read_table(path, Columns("label", features=("b",))).x_train.shape == (4, 1)
    assert table_shape(path, Columns("label", split="part", group="who")) == (2, 2)


def test_given_classes_set_their_order_and_spare_reading_the_labels(file):
    columns = Columns("label", text="text", classes=("pos", "neg"))

    assert read_table(file(REVIEWS), columns).y_train.tolist() == [0, 1, 0]
    assert table_shape(file("text,label\na,pos\nbroken"), columns) == (0, 2)


def test_a_test_file_becomes_the_test_split_with_the_same_classes(file):
    other = file("label\ttext\nneg\tworse\n", "test.tsv")
    raw = read_table(file(REVIEWS), TEXT, other)

    assert (list(raw.x_test), raw.y_test.tolist(), len(raw.x_train)) == (["worse"], [0], 3)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("", TEXT, "t.csv: it is empty"),
        ("text,label\n", TEXT, "t.csv: it is empty"),
        ("text,lable\na,1\n", TEXT, "t.csv: there is no column 'label'; did you mean 'lable'?"),
        ("text,label\na,1\nb\n", TEXT, "t.csv, line 3: it has 1 fields, the header 2"),
        ('text,label\n"a\nb",1\nc,2,3\n', TEXT, "t.csv, line 4: it has 3 fields"),
        ('text,label\na,1\n"b,2\n', TEXT, "t.csv, line 3: it is no CSV: unexpected end of data"),
        ('text,label\n"a"b,1\n', TEXT, "t.csv, line 2: it is no CSV"),
        ("text,text\na,1\n", TEXT, "t.csv, line 1: two columns are called 'text'"),
        ("text,,label\na,b,1\n", TEXT, "t.csv, line 1: column 2 has no name"),
        ("text,label\na, \n", TEXT, "t.csv, line 2: label is empty"),
        ("text,label\na\0b,1\n", TEXT, "t.csv, line 2: text holds a zero byte"),
        (b"text,label\na,1\n\xe9,2\n", TEXT, "t.csv, line 3: byte 0xe9 is not UTF-8"),
        ("text,label\na,1\n".encode("utf-16"), TEXT, "t.csv, line 1: it is UTF-16"),
        ("text,label\na,pos\nb,postive\n", Columns("label", "text", classes=("pos", "positive")),
         "line 3: label 'postive' is none of the classes pos, positive; did you mean 'positive'?"),
        ("a,label\n1,x\ntwo,y\n", Columns("label"), "t.csv, line 3: a is 'two'"),
        ("a,label\n1,x\n,y\n", Columns("label"), "t.csv, line 3: a is empty"),
        ("a,label\n1,x\nnan,y\n", Columns("label"), "t.csv, line 3: a is 'nan'"),
        ("a,label\n1,x\n1_0,y\n", Columns("label"), "t.csv, line 3: a is '1_0'"),
        ("a,label\nred,x\n", Columns("label"), "a is 'red', and every column without another role is a number"),
        ("label\nx\n", Columns("label"), "no column is left for numbers"),
        ("a,label,part\n1,x,trian\n", Columns("label", split="part"), "line 2: part is 'trian'"),
        ("a,label,part\n1,x,test\n", Columns("label", split="part"), "no row is marked train"),
        ("a,label,who\n1,x,\n", Columns("label", group="who"), "line 2: who is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_csv_is_said_with_its_line(file, content, columns, message):
    with pytest.raises(DataError) as caught:
        read_table(file(content), columns)
    assert message in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 2\n', "t.jsonl, line 2: it is no JSON"),
        ('{"text": "a", "label": 1}\n[1]\n', "t.jsonl, line 2: it holds list, not an object"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "t.jsonl, line 2: there is no column 'label'"),
        ('{"text": "a", "label": 1, "text": "b"}\n', "t.jsonl, line 1: it is no JSON: a key stands there twice"),
        ('{"text": 5, "label": 1}\n', "t.jsonl, line 1: text is 5"),
        ('{"text": "\\ud800", "label": 1}\n', "t.jsonl, line 1: text holds half a surrogate pair"),
        ('{"text": "a", "label": 1.5}\n', "t.jsonl, line 1: label is 1.5"),
        ('{"text": "a", "label": null}\n', "t.jsonl, line 1: label is None"),
        ("[" * 100_000, "t.jsonl, line 1: it is no JSON"),
    ],
)
def test_what_is_wrong_with_json_lines_is_said_with_its_line(file, content, message):
    with pytest.raises(DataError) as caught:
        read_table(file(content, "t.jsonl"), TEXT)
    assert message in str(caught.value)


def test_a_column_of_names_is_no_label(file):
    rows = "".join(f"text,{i}x\n" for i in range(1001))
    with pytest.raises(DataError, match="label has 1001 different values, more than 1000"):
        table_shape(file("text,label\n" + rows), TEXT)


def test_test_rows_and_a_test_file_do_not_go_together(file):
    path = file("text,label,part\na,1,train\nb,1,test\n")
    with pytest.raises(DataError, match="test rows of its own beside the test file"):
        read_table(path, Columns("label", "text", split="part"), path)


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.tuples(cells, st.integers(0, 3)), min_size=1, max_size=8))
def test_what_a_csv_writer_writes_is_read_back(file, rows):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    lines = "\n".join(json.dumps({"text": t, "label": y}) for t, y in rows)
    for path in (file(out.getvalue()), file(lines, "t.jsonl")):
        raw = read_table(path, TEXT)
        assert list(raw.x_train) == [t for t, _ in rows]
        assert [raw.classes[i] for i in raw.y_train] == [str(y) for _, y in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from(["t.csv", "t.jsonl", "t.tsv"]), st.integers(0, 40))
def test_any_bytes_give_rows_or_a_data_error(file, noise, name, place):
    good = b'{"text": "a", "label": 1}\n' if name == "t.jsonl" else b"text,label\na,1\nb,2\n"
    path = file(good[:place] + noise + good[place:], name)
    for columns in (TEXT, Columns("label")):
        try:
            raw = read_table(path, columns)
        except DataError as error:
            assert str(path) in error.where  # noqa: PT017
        else:
            assert len(raw.x_train) == len(raw.y_train)


def test_metadata_goes_along_and_is_no_feature(file):
    rows = "x,z,label,site,age,split\n1,2,a,north,30,train\n3,4,b,south,,train\n5,6,a,north,41,test\n"
    columns = Columns("label", split="split", metadata=("site", "age"))
    raw = read_table(file(rows.replace(",,", ",9,")), columns)

    assert raw.x_train.shape == (2, 2)
    assert {k: v.tolist() for k, v in raw.columns.items()} == {"site": ["north", "south"], "age": ["30", "9"]}
    assert raw.columns_test["age"].tolist() == ["41"]
    assert "metadata" not in repr(columns)  # fingerprints of tables without it stay
    with pytest.raises(DataError, match="age is empty"):
        read_table(file(rows), columns)


def test_a_recording_ends_where_metadata_changes(file):
    rows = "x,label,site\n" + "1,a,north\n" * 9 + "2,a,south\n" * 9
    raw = read_table(file(rows), Columns("label", window=(8, 8), metadata=("site",)))

    assert raw.x_train.shape == (2, 8, 1)
    assert raw.columns["site"].tolist() == ["north", "south"]


ODD = st.sampled_from(["1_0", "", "nan", "inf", " 7 ", "1e39", "1e308", "٣", True, None, 10**400, -3, 2.5, 1e300])


@given(st.lists(ODD | st.floats() | st.integers() | st.floats(width=32).map(repr), min_size=1, max_size=4))
def test_a_row_of_numbers_is_read_as_its_values_one_by_one(values):
    row = {f"c{i}": v for i, v in enumerate(values)}

    def outcome(read):
        try:
            return read()
        except DataError as error:
            return str(error)

    whole = outcome(lambda: table._numbers(row, list(row), "t.csv", 7))
    alone = outcome(lambda: [table._number(v, name, "t.csv", 7) for name, v in row.items()])
    assert whole == alone


def test_all_missing_values_are_told_at_once_and_what_to_do_about_them(file):
    rows = "".join(f"{i},{'' if i % 3 else i},a\n" for i in range(30))
    with pytest.raises(DataError, match=r"line 3: q is empty \(19 more problems: .*line 4; .*; \.\.\.\)") as told:
        read_table(file("p,q,label\n" + rows), Columns("label"))
    assert told.value.fix == "fill it in, or drop its row or recording"

    with pytest.raises(DataError, match=r"there is no column 'x'[^(]*$"):  # a wrong header once, not for every row
        read_table(file("p,q,label\n" + rows), Columns("label", features=("x",)))


@pytest.mark.parametrize(("sign", "called"), [(";", "';'"), ("\t", "tabs"), ("|", "'|'")])
def test_a_table_with_another_separator_is_told_so(file, sign, called):
    with pytest.raises(DataError, match="one column that holds") as told:
        read_table(file("a,b,label\n1,2,x\n".replace(",", sign)), Columns("label"))
    assert called in told.value.what
    assert "with commas" in told.value.fix


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match="it is a folder"):
        read_table(tmp_path, TEXT)
