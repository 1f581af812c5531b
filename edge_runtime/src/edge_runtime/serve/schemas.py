"""Bodies of the paths that FastAPI serves."""

from __future__ import annotations

from typing import Optional

from pydantic import BaseModel, ConfigDict


class Switch(BaseModel):
    """A version to switch to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"version": "kiosk-0123456789ab"}})
    version: str
    force: bool = False


class Switched(BaseModel):
    """What a switch did."""

    version: str
    previous: Optional[str]
    changed: bool
    message: str


class VersionInfo(BaseModel):
    """One version of a store."""

    version: str
    state: str
    size_bytes: int
    note: str


class Versions(BaseModel):
    """What runs, and what else is there."""

    version: str
    engine: str
    problem: str
    versions: list[VersionInfo]


class Label(BaseModel):
    """What a prediction should have been."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"id": "1f0c-0-17", "label": "cat"}})
    id: str
    label: str


class Probe(BaseModel):
    """Yes or no."""

    ok: bool
