"""A versioned model store on the device: install, try, switch, roll back.

    from edge_runtime.store import Store

    store = Store.create("/var/lib/app/model")      # once; opens it where it exists
    store.update("https://example.org/bundles/v2")  # verified and tested on this device before anybody uses it
    with store.open() as model:                     # follows later switches by itself
        answer = model.predict(image)

Importing this package starts nothing and opens no connection; only `Store.update` with an http(s) source does.
"""

from __future__ import annotations

from edge_runtime.errors import StoreError
from edge_runtime.store.deployed import Answer, Deployed
from edge_runtime.store.state import Limits
from edge_runtime.store.store import Store, Updated, Version

__all__ = ["Answer", "Deployed", "Limits", "Store", "StoreError", "Updated", "Version"]
