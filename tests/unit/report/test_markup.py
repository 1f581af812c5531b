import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.report.html.markup import Markup, join, number, tag, with_code


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    made = tag("p", "<b>&", tag("i", "x"), None, ["y", "z"], title="\"'<")
    assert made == '<p title="&quot;&#x27;&lt;">&lt;b&gt;&amp;<i>x</i>yz</p>'


def test_characters_that_html_forbids_become_visible() -> None:
    assert tag("p", "a\x00b\ud800\u202e") == "<p>a\ufffdb\ufffd\ufffd</p>"


def test_names_of_attributes() -> None:
    assert tag("td", class_="a", data_label="b", hidden=True, role=None, x1=1.25) == (
        '<td class="a" data-label="b" hidden x1="1.2"></td>'
    )


@pytest.mark.parametrize("bad", [{"href": "https://example.org"}, {"src": "x.png"}, {"onload": "alert(1)"}])
def test_what_could_load_or_run_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has no place in a report"):
        tag("a", **bad)


def test_a_number_nobody_formatted_is_refused() -> None:
    with pytest.raises(TypeError, match="format it first"):
        join("a", 3)


@given(st.text(), st.text())
def test_no_text_makes_an_element_or_leaves_its_attribute(text: str, value: str) -> None:
    made = tag("p", text, title=value)
    assert made.count("<") == 2
    assert made.count('"') == 2
    assert isinstance(made, Markup)


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (-0.01, "0"), (-0.5, "-0.5"), (12.34, "12.3")])
def test_coordinates(value: float, text: str) -> None:
    assert number(value) == text


def test_what_stands_between_backticks_is_code_and_still_escaped() -> None:
    assert with_code("Use `how: <qat>`, or more.") == "Use <code>how: &lt;qat&gt;</code>, or more."
