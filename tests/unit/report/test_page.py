import html
import itertools
import re
from html.parser import HTMLParser

import pytest
import samples

from compress.report import words
from compress.report.pages import run as page
from compress.report.sections.evidence import series

VOID = {"meta", "br", "hr"}


class Balance(HTMLParser):
    """Checks nesting; collects text, ids, headings, and every attribute."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.headings: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def parse(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module", params=list(samples.SAMPLES))
def drawn(request: pytest.FixtureRequest) -> tuple[str, Balance]:
    text = page.render(samples.SAMPLES[request.param]())
    return text, parse(text)


def test_the_html_is_balanced_and_encodes(drawn: tuple[str, Balance]) -> None:
    assert drawn[0].startswith('<!doctype html>\n<html lang="en">')
    drawn[0].encode("utf-8")


def test_nothing_is_loaded_and_nothing_can_run(drawn: tuple[str, Balance]) -> None:
    text, parsed = drawn
    tags = {tag for tag, _ in parsed.seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "video"}
    for tag, attributes in parsed.seen:
        assert not [a for a in attributes if a.startswith("on") or a in ("src", "srcset", "action", "xlink:href")], tag
        assert (attributes.get("href") or "#").startswith("#")
        assert not re.search(r"url|expression|[<>{}]", attributes.get("style") or "")
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style
    assert not re.search(r"url\(|@import|https?:|@font-face", style[1])
    assert "default-src 'none'" in html.unescape(text)


def test_headings_step_down_one_level_at_a_time(drawn: tuple[str, Balance]) -> None:
    levels = drawn[1].headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_links_lead_to_parts_that_exist_and_ids_are_unique(drawn: tuple[str, Balance]) -> None:
    ids = [a["id"] for _, a in drawn[1].seen if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for _, a in drawn[1].seen if "href" in a} <= {f"#{i}" for i in ids}
    assert {a["aria-labelledby"] for _, a in drawn[1].seen if "aria-labelledby" in a} <= set(ids)


def test_every_picture_is_either_read_out_or_decoration(drawn: tuple[str, Balance]) -> None:
    for tag, attributes in drawn[1].seen:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"


def test_every_table_has_a_caption_and_header_cells(drawn: tuple[str, Balance]) -> None:
    tags = [t for t, _ in drawn[1].seen]
    assert tags.count("caption") == tags.count("table")
    assert all(a.get("scope") in ("row", "col") for t, a in drawn[1].seen if t == "th")


@pytest.mark.parametrize("name", list(samples.SAMPLES))
def test_every_artefact_flag_and_hop_appears(name: str) -> None:
    run = samples.SAMPLES[name]()
    text = parse(page.render(run)).text
    names = [a.id for a in run.artefacts] + [a.role for a in run.artefacts] + [run.recipe_digest]
    names += [h.name for h in run.ledger] + [s.name for s in run.steps]
    for one in [*map(words.one_line, names), *map(words.prose, (*run.flags, run.shipped_reason))]:
        assert one in text


def test_the_numbers_are_those_of_the_result() -> None:
    run = samples.good()
    text = parse(page.render(run)).text
    for a in run.artefacts:
        assert words.percent(a.accuracy[0].top1).replace("\u202f", " ") in text.replace("\u202f", " ")
        assert words.size(a.size_bytes).replace("\u00a0", " ") in text.replace("\u00a0", " ")
        assert words.significant(a.latency[0].p50_ms) in text
        assert words.significant(a.latency[0].p90_ms) in text
    assert "−1.05 to +0.40" in text
    assert "13.7 to 14.5" in text
    assert f"{run.artefact(run.shipped).size_bytes:,} bytes" in text
    assert run.artefact(run.shipped).sha256 in text


def test_hostile_names_stay_text() -> None:
    text = page.render(samples.hostile())
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert html.escape(samples.HOSTILE) in text


def test_the_same_result_gives_the_same_page() -> None:
    assert page.render(samples.good()) == page.render(samples.good())


def test_fifty_artefacts_with_ten_thousand_examples_stay_small() -> None:
    assert len(page.render(samples.many(50)).encode()) < 3_000_000


def test_a_thousand_classes_do_not_fill_the_page() -> None:
    run = samples.good()
    files = tuple(
        a.model_copy(update={"accuracy": (samples.accuracy(0.9, count=2000, classes=200, seed=i),)})
        for i, a in enumerate((run.artefacts[0], run.artefacts[3]))
    )
    classes = tuple(f"class {i}" for i in range(200))
    data = run.data.model_copy(update={"classes": classes})
    text = page.render(run.model_copy(update={"artefacts": files, "data": data}))
    assert "The 30 most harmed of 200 classes." in text
    assert "Confusion matrix" not in text
    assert len(text.encode()) < 300_000


def test_what_was_not_measured_is_said() -> None:
    text = parse(page.render(samples.unmeasured())).text
    assert "Latency was not measured in this run." in text
    assert text.count("not measured") >= 2


def test_validation_accuracy_is_called_so() -> None:
    run = samples.good()
    only = run.artefacts[3].accuracy[0].model_copy(update={"split": "validation"})
    shipped = run.artefacts[3].model_copy(update={"accuracy": (only,), "paired": None})
    text = parse(page.render(run.model_copy(update={"artefacts": (run.artefacts[0], shipped)}))).text
    assert "(validation)" in text
    assert "accuracy is of the validation split, which also chose the model" in text
    assert "what it lost in accuracy was not measured" in text


def test_a_breach_shows_how_far_over_it_is() -> None:
    text = parse(page.render(samples.breach())).text
    assert "1 of 4 conversions broke the tolerance." in text
    assert "13.8 times that" in text


def test_tolerance_bars_are_to_scale() -> None:
    row = re.search(
        r'<tr role="row" class="conversion">(?:(?!</tr>).)*03-quantize.onnx.*?</tr>', page.render(samples.good()), re.S
    )
    assert row
    # 0.1 % of answers differ, 0.5 % may; 0.05 points of 0.3; 0.018 of 0.05. All of a tolerance is half the track.
    assert re.findall(r'class="fill" style="width:([\d.]+)%"', row[0]) == ["10.0", "8.3", "18.0"]


def test_a_warning_of_every_timing_is_said_once() -> None:
    run = samples.good()
    files = tuple(
        a.model_copy(
            update={"latency": (a.latency[0].model_copy(update={"warnings": ("the machine was busy", a.id)}),)}
        )
        for a in run.artefacts
    )
    text = page.render(run.model_copy(update={"artefacts": files}))
    timings = text[text.index('<section id="timings"') : text.index('<section id="training"')]
    assert timings.count("the machine was busy") == 1
    assert timings.count("03-quantize.tflite</small>") == 1


def test_series_reads_what_stages_record() -> None:
    metrics = {"loss": [3.0, 2.0, float("nan"), 1.0], "epochs": 3, "notes": ["a", "b"], "flags": [True, False],
               "rounds": [{"epoch": 1, "top1": 0.1}, {"epoch": 2, "top1": 0.2}], "one": [1.0]}  # fmt: skip
    assert series(metrics) == {"loss": [3.0, 2.0], "rounds: top1": [0.1, 0.2]}


def test_no_two_ticks_of_a_latency_chart_read_the_same() -> None:
    made = samples.good()
    near = tuple(
        a.model_copy(update={"latency": (a.latency[0].model_copy(update={"p50_ms": 0.006 + 0.003 * i}),)})
        for i, a in enumerate(made.artefacts)
    )
    for chart in page.render(made.model_copy(update={"artefacts": near})).split("<figure")[1:]:
        for drawn in chart.split("<svg")[1:]:
            ticks = re.findall(r'class="tick mid"[^>]*>([^<]*)<', drawn)
            assert len(ticks) == len(set(ticks)), ticks
