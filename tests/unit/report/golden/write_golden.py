"""Write the Markdown reports that test_markdown.py compares with: `python tests/unit/report/golden/write_golden.py`.

The numbers in them are made up (see samples.py); the files guard the form.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import samples  # noqa: E402

from compress.report.text import markdown  # noqa: E402


def write(folder: Path) -> list[Path]:
    """One file a sample; their paths."""
    paths = []
    for name in ("good", "missed", "breach"):
        path = folder / f"{name}.md"
        path.write_text(markdown.render(samples.SAMPLES[name]()), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write(HERE)
