"""What a build host tells the broker every few seconds: who it is, what it takes work for, which runs it has. Reads no clock.

A sign is the opposite of a ping: nobody has to reach the host, which only dials out.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

BEAT_SECONDS = 10.0
"""A host tells of itself so often."""
MISSED = 6
"""After so many signs that did not come, a host counts as gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignOfLife:
    """One host, as it was when it last told."""

    host: str
    platforms: tuple[str, ...]
    """The queues that it takes runs from."""
    slots: int
    """How many runs it takes at the same time."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it has now."""
    age: float = 0.0
    """Seconds since then, by the broker's clock: that of the host may be off."""

    @property
    def text(self) -> str:
        """As the broker keeps it; `age` is not part of it."""
        return json.dumps({"host": self.host, "platforms": self.platforms, "slots": self.slots, "runs": self.runs})

    @classmethod
    def parse(cls, text: str, *, age: float) -> Self:
        """Read what `text` gave. Raises `ValueError` for anything else."""
        try:
            fields = json.loads(text)
            return cls(
                host=str(fields["host"]),
                platforms=tuple(map(str, fields["platforms"])),
                slots=int(fields["slots"]),
                runs=tuple(map(str, fields["runs"])),
                age=age,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no sign of life: {error}") from None

    def holding(self, runs: Iterable[str]) -> Self:
        """Return the same host with these runs."""
        return replace(self, runs=tuple(sorted(runs)))


def serving(signs: Iterable[SignOfLife], platform: str) -> tuple[str, ...]:
    """Return the names of the hosts that take runs for `platform`, sorted."""
    return tuple(sorted(sign.host for sign in signs if platform in sign.platforms))
