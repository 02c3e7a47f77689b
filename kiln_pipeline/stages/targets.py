"""What a run leaves behind of each publish target: a note in the state of what the target has. Copies nothing."""

from dataclasses import dataclass

from kiln_pipeline.core.site_inventory import read_inventory
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetReport:
    """What a run did for one target."""

    name: str
    copied: int = 0
    """Objects written, or found to be there."""
    copied_bytes: int = 0
    removed: int = 0
    left: int = 0
    """Objects still to be written or removed; 0 means that it has caught up."""
    problem: str = ""
    """Why it was stopped."""


def state_key(name: str) -> str:
    """Return the key in the state that holds what the target called `name` has."""
    return f"targets/{name}.parquet"


def noted(name: str, place: str, state: ObjectStore) -> dict[str, str]:
    """Return what the last run noted; nothing when there was none, or the target was another place then."""
    try:
        objects, noted_place = read_inventory(state.get(state_key(name)), state_key(name))
    except ObjectNotFound:
        return {}
    return objects if noted_place == place else {}
