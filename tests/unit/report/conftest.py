"""The sample results, by name. Their numbers are made up."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that `samples` can be imported by tests and by hand
