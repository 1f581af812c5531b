"""What of a recipe's part enters a cache key: a field added later only once it is used."""

from typing import ClassVar

from compress.recipe.base import Config


class Inner(Config):
    ADDED: ClassVar[frozenset[str]] = frozenset({"newer"})

    old: int = 1
    newer: int = 2


class Outer(Config):
    inner: Inner = Inner()
    parts: tuple[Inner, ...] = ()


def test_an_added_field_counts_only_where_it_has_another_value():
    assert Outer().settings() == {"inner": {"old": 1}, "parts": []}
    used = Outer(inner=Inner(newer=3), parts=(Inner(newer=2), Inner(old=5, newer=0)))
    assert used.settings() == {"inner": {"old": 1, "newer": 3}, "parts": [{"old": 1}, {"old": 5, "newer": 0}]}


def test_the_record_of_a_run_names_every_field():
    assert Outer().model_dump(mode="json") == {"inner": {"old": 1, "newer": 2}, "parts": []}
