"""Facts of this machine. The readers live in edge_runtime, because they run on devices: one implementation for both."""

from edge_runtime.edge_host import (
    ENGINES,
    ROOT,
    choose_cores,
    host_facts,
    package_version,
    read_text,
    throttle_count,
    usable_cores,
)

__all__ = [
    "ENGINES",
    "ROOT",
    "choose_cores",
    "host_facts",
    "package_version",
    "read_text",
    "throttle_count",
    "usable_cores",
]
