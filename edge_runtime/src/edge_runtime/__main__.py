"""`python -m edge_runtime`, for devices whose PATH lacks pip's scripts."""

import sys

from edge_runtime.cli import main

sys.exit(main())
