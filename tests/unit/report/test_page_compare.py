"""The in-depth parts of the page: what they say, and that nothing in them can run or load."""

from html.parser import HTMLParser

import contrasts
import numpy as np
import pytest
import samples

from compress.report.html.markup import tag
from compress.report.pages import run as page
from compress.report.sections import depth, flips, groups


def drawn(c):
    parts = (depth.calibration, depth.scores, depth.slices, depth.invariance)
    return "".join(str(p(c) or "") for p in (*parts, groups.groups, flips.flips))


@pytest.mark.parametrize("name", contrasts.CONTRASTS)
def test_every_kind_of_example_is_drawn(name):
    text = drawn(contrasts.CONTRASTS[name]())
    want = {"images": "<img ", "windows": "<polyline", "texts": "<blockquote>sentence", "hostile": "&lt;script&gt;"}

    assert want[name] in text
    assert "Expected calibration error" in text


def test_markup_in_names_and_texts_stays_text():
    text = drawn(contrasts.hostile())

    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda name, attributes: seen.append((name, [a for a, _ in attributes]))
    parser.feed(text)

    assert len(seen) > 50
    assert not [(n, a) for n, a in seen if n == "script" or any(k.startswith("on") for k in a)]
    assert "\x1b" not in text


def test_the_words_follow_the_numbers():
    c = contrasts.images()
    quiet = c.model_copy(update={"slices": tuple(s.model_copy(update={"hurt": False}) for s in c.slices)})
    loud = c.model_copy(update={"slices": (c.slices[0].model_copy(update={"hurt": True}), *quiet.slices[1:])})

    assert f"None of {len(c.slices)} slices was hurt beyond chance." in depth.slices(quiet)
    assert f"1 of {len(c.slices)} slices were hurt beyond chance." in depth.slices(loud)
    assert f"{c.paired.lost} answers were lost and {c.paired.gained} gained" in flips.flips(c)


def test_no_change_and_no_slices_are_said_so():
    c = contrasts.images()
    same = c.model_copy(update={"flips": (), "slices": ()})

    assert "No answer changed." in flips.flips(same)
    assert "No slice holds enough examples." in depth.slices(same)


def test_invariance_is_called_worse_only_when_shown():
    c = contrasts.images()
    rows = [r.model_copy(update={"difference_points": -3.0, "ci95_points": (-6.0, 1.0)}) for r in c.invariance]

    assert "beyond chance" in depth.invariance(c.model_copy(update={"invariance": tuple(rows)}))
    rows[0] = rows[0].model_copy(update={"difference_points": -9.0, "ci95_points": (-12.0, -4.0)})
    worse = depth.invariance(c.model_copy(update={"invariance": tuple(rows)}))
    assert "shift 1 pixel changes answers 9.0 points more often" in worse
    assert depth.invariance(c.model_copy(update={"invariance": ()})) is None


def test_a_run_with_a_comparison_links_to_its_parts():
    text = page.render(samples.good().model_copy(update={"comparison": contrasts.images()}))

    for part in ("scores", "slices", "invariance", "calibration", "flips"):
        assert f'href="#{part}"' in text
        assert f'id="{part}"' in text


def test_a_page_may_hold_pictures_but_load_none():
    assert tag("img", src="data:image/png;base64,AAAA")
    for source in ("https://example.org/x.png", "data:image/svg+xml;base64,AAAA", "x.png"):
        with pytest.raises(ValueError, match="has no place in a report"):
            tag("img", src=source)


def test_ten_thousand_examples_stay_a_small_page():
    c = contrasts.made(np.random.default_rng(0).integers(0, 256, (10_000, 28, 28)).astype(np.uint8), 10, 10_000)

    assert len(page.render(samples.good().model_copy(update={"comparison": c})).encode()) < 1_000_000


def test_groups_stand_side_by_side_with_the_gaps_between_them():
    c = contrasts.grouped()
    even = tuple(g.model_copy(update={"wider": False}) for g in c.gaps)
    quiet = groups.groups(c.model_copy(update={"gaps": even}))
    worst = c.gaps[0].model_copy(update={"wider": True})
    loud = groups.groups(c.model_copy(update={"gaps": (worst, *c.gaps[1:])}))

    assert f"None of {len(c.gaps)} gaps between groups grew beyond chance." in quiet
    assert f"1 of {len(c.gaps)} gaps between groups grew beyond chance." in loud
    assert "rates of yes" in quiet
    assert "True positive rate of yes" in quiet
    assert groups.groups(contrasts.images()) is None
