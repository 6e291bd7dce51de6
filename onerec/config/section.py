"""What every table of settings is made of: frozen, strict, and explained field by field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FieldClass = Literal["result", "topology", "speed", "cosmetic"]
"""What changing a key may change: numbers, the shape of the cluster, only speed, or only what is shown."""

Topology = Field(json_schema_extra={"class": "topology"})
Speed = Field(json_schema_extra={"class": "speed"})
Cosmetic = Field(json_schema_extra={"class": "cosmetic"})
Later = Field(json_schema_extra={"later": True})
"""For a key of class result that came when there were runs without it: its default is what those did."""
Share = Annotated[float, Field(ge=0, le=1)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen, strict table: unknown keys are errors and no value is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


def class_of(section: type[BaseModel], key: str) -> FieldClass:
    """Class of one key of a section; a key that says nothing is `result`: it may change numbers."""
    extra = section.model_fields[key].json_schema_extra
    return extra.get("class", "result") if isinstance(extra, dict) else "result"  # type: ignore[return-value]


def says_nothing_new(section: type[BaseModel], key: str, value: object) -> bool:
    """Whether a key that came later has its default: runs from before it were made in the same way."""
    field = section.model_fields[key]
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("later")) and value == field.default
