"""What every part of a recipe is: frozen, strict, and known to a cache key by the fields that it uses."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Function = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*$")]
Patterns = Literal["all"] | tuple[str, ...]

_FOR_A_KEY: dict[str, bool] = {"for a cache key": True}  # compared by identity


class Config(BaseModel):
    """Frozen, unknown keys refused.

    ADDED: fields that came after the first release. `settings` leaves them out while they have their defaults, so that
    a new field does not change the cache keys of recipes that do not use it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    ADDED: ClassVar[frozenset[str]] = frozenset()

    def settings(self) -> dict[str, Any]:
        """Plain data for a cache key: every field that changes what is done."""
        return self.model_dump(mode="json", context=_FOR_A_KEY)

    @model_serializer(mode="wrap")
    def _without_added_defaults(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        doc: dict[str, Any] = handler(self)
        if info.context is _FOR_A_KEY:
            fields = type(self).model_fields
            unused = {n for n in self.ADDED if getattr(self, n) == fields[n].get_default(call_default_factory=True)}
            doc = {k: v for k, v in doc.items() if k not in unused}
        return doc
