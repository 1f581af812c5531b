"""Several problems of one data set told at once: the first in full, where the others are."""

from collections.abc import Sequence

from compress.errors import DataError

_NAMED = 8


def together(problems: Sequence[DataError]) -> DataError:
    """One error of several; the places of the first few others are named, all are counted."""
    first, *others = problems
    if not others:
        return first
    named = "; ".join(error.where for error in others[:_NAMED]) + ("; ..." if len(others) > _NAMED else "")
    count = f"{len(others):,} more problem{'s' if len(others) > 1 else ''}"
    return DataError(f"{first.what} ({count}: {named})", first.where, first.fix)
