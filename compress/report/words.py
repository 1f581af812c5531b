"""How the reports write numbers and names. One spelling in the terminal, in Markdown and on the page.

Typographic signs are used throughout (true minus, multiplication sign); `ascii_only` undoes them for poor terminals.
"""

import math
import re
import unicodedata
from datetime import datetime

_NEGATIVE = re.compile(r"(?<![\w.-])-(?=\.?\d)|(?<=\de)-(?=\d)")  # no range, date or name: -5, 2e-6, not 4-5, a-5
_FACTOR = re.compile(r"(?<![\w.,])(\d[\d.,]*)x(?!\w)")  # 18.6x, not 3x3, conv2x
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]  # no locale
_ASCII = str.maketrans(
    {
        "×": "x",
        "−": "-",
        "–": "-",
        "—": "-",
        "→": "->",
        "…": "...",
        "±": "+/-",
        "≤": "<=",
        "≥": ">=",
        "·": "-",
        "µ": "u",
        "\u00a0": " ",
        "\u202f": " ",
        "✓": "ok",
        "✗": "X",
        "├": "|",
        "└": "`",
        "─": "-",
    }
)


def clean(text: str) -> str:
    """A name from outside, safe to show: control, direction-changing and unencodable characters become U+FFFD."""
    return "".join("\ufffd" if _unsafe(c) else c for c in text)


def _unsafe(c: str) -> bool:
    return c in _BIDI or (c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs"))


def one_line(text: str) -> str:
    """`clean`, with every run of white space made one blank."""
    return " ".join(clean(text).split())


def ascii_only(text: str) -> str:
    """The same text in plain ASCII: signs by their usual spelling, anything else as `?`."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the middle left out: both ends of a name tell names apart."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def significant(value: float, digits: int = 3) -> str:
    """0.03812 -> 0.0381, 14.13 -> 14.1, 1234.5 -> 1,234; an exponent (2.0e−6) only outside 1e-4 to 1e12."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e12:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return minus(f"{mantissa}e{int(exponent)}")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return minus(f"{value:,.{decimals}f}")


def percent(share: float, decimals: int = 2) -> str:
    """A share of 1 as per cent."""
    return minus(f"{100 * share:.{decimals}f}\u202f%")


def minus(text: str) -> str:
    """A formatted number with a true minus sign."""
    return text.replace("-", "−")


def decibels(value: float, decimals: int = 0) -> str:
    """A signal over its error."""
    return minus(f"{value:.{decimals}f}\u00a0dB")


def signed(value: float, form: str) -> str:
    """A number with its sign, a true minus; zero without. form: how `format` writes it, as `.2f`."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:+{form}}"
    return text[1:] if float(text) == 0 else minus(text)


def points(value: float, decimals: int = 2) -> str:
    """Percentage points with their sign, zero without."""
    return signed(value, f".{decimals}f")


def interval(low: float, high: float) -> str:
    """An interval of percentage points."""
    return f"{points(low)} to {points(high)}"


def size(count: int | float) -> str:
    """Bytes in decimal units: 1 kB is 1,000 bytes, as in a recipe's budget."""
    if not math.isfinite(count):
        return "not finite"
    for limit, divisor, unit in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (math.inf, 1e9, "GB")):
        if round(abs(count)) < limit:
            number = f"{count:.0f}" if divisor == 1 else significant(count / divisor)
            return f"{number}\u00a0{unit}"
    raise AssertionError("inf ends the list")


def tick(text: str) -> str:
    """An axis label without idle zeros: `20.0 kB` -> `20 kB`, `100.0 %` -> `100 %`."""
    blank = next((c for c in "\u00a0\u202f" if c in text), "\u00a0")
    number, blank, unit = text.partition(blank)
    mantissa, e, exponent = number.partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + e + exponent + blank + unit


def number(count: int | float) -> str:
    """A count: exact below 10,000, then with k, M or G."""
    for limit, divisor, unit in (
        (1e4, 1, ""),
        (1e6, 1e3, "\u00a0k"),
        (1e9, 1e6, "\u00a0M"),
        (math.inf, 1e9, "\u00a0G"),
    ):
        if abs(count) < limit:
            return f"{count:,.0f}" if divisor == 1 else f"{significant(count / divisor)}{unit}"
    raise AssertionError("inf ends the list")


def milliseconds(value: float) -> str:
    """A latency, always in ms, three significant digits."""
    return f"{significant(value)}\u00a0ms"


def times(ratio: float) -> str:
    """A factor: 31.2×."""
    return f"{significant(ratio)}×"


def factor(value: float | None, more: str, less: str) -> str:
    """1.86 -> `1.86× smaller`, 0.5 -> `2.00× larger`; `unchanged` where it rounds to 1, a dash where there is none."""
    if value is None or not 0 < value < math.inf:
        return "–"
    if abs(value - 1) < 0.005:
        return "unchanged"
    return f"{times(value)} {more}" if value > 1 else f"{times(1 / value)} {less}"


def change(before: float, after: float) -> str:
    """A relative change in whole per cent; one decimal where it is below 10 %."""
    if not math.isfinite(before) or not math.isfinite(after):
        return "not finite"
    if before == 0:
        return "0\u202f%" if after == 0 else "from zero"
    share = 100 * (after / before - 1)
    return f"{signed(share, '.0f' if abs(share) >= 10 else '.1f')}\u202f%"


def duration(seconds: float) -> str:
    """4.2 s, 3 min 20 s, 2 h 5 min."""
    if not math.isfinite(seconds):
        return "not finite"
    if seconds < 60:
        return f"{significant(seconds, 2)}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60}\u00a0min"


def moment(text: str) -> str:
    """An ISO date and time for people; anything else as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return one_line(text)
    zone = at.strftime("%Z").removesuffix("+00:00")
    return f"{at.day} {_MONTHS[at.month - 1]} {at:%Y, %H:%M} {zone}".rstrip()


def quantity(value: float, unit: str) -> str:
    """A budget's value in its unit."""
    match unit:
        case "bytes" | "B":
            return size(value)
        case "points":
            return minus(f"{value:.2f}\u00a0points")
        case "ms":
            return milliseconds(value)
        case "x":
            return times(value)
        case "":
            return significant(value)
        case _:
            return f"{significant(value)}\u00a0{one_line(unit)}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 hop`, `3 hops`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def hop(name: str, source: str, target: str) -> str:
    """A row of the ledger: `source → target`, with its name before it where that says more."""
    path = f"{one_line(source)} → {one_line(target)}"
    return path if one_line(name) in (path, path.replace("→", "to")) else f"{one_line(name)}: {path}"


def prose(text: str) -> str:
    """A sentence from a document, on one line: `-0.50` and `18.6x`, plain ASCII there, get their true signs."""
    return _FACTOR.sub("\\1×", _NEGATIVE.sub("−", one_line(text)))


def sentence(text: str) -> str:
    """`prose`, its first letter a capital."""
    line = prose(text)
    return line[:1].upper() + line[1:]
