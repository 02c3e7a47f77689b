"""Tell every channel what is wrong. What is wrong is given; when and how it is told is `core.alerts`' matter."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from kiln_pipeline.core.alerts import Memory, Signal, digest, observe
from kiln_pipeline.errors import DeliveryError, ObjectNotFound
from kiln_pipeline.ports import AlertChannel, ObjectStore

_HAPPENED, _TOLD = "alerts/happened/", "alerts/told/"
"""Keys in the state: what happened and was not taken in by every channel; what each channel was told."""
_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What came of one channel."""

    channel: str
    text: str = ""
    """The message; empty: there was nothing to tell."""
    failure: str = ""
    """Why it was not delivered; it is tried again later."""


def remember(signal: Signal, state: ObjectStore) -> None:
    """Keep something that happened until `alert` has taken it in; the same one is kept once. Raises `StoreError`."""
    text = json.dumps({key: value for key, value in asdict(signal).items() if key != "patience"}, sort_keys=True)
    key = hashlib.sha256(f"{signal.group}\n{signal.subject}".encode()).hexdigest()
    state.put(f"{_HAPPENED}{key}.json", text.encode())


def alert(
    channels: Mapping[str, tuple[AlertChannel, timedelta]],
    standing: Sequence[Signal],
    *,
    state: ObjectStore,
    now: datetime,
    dry_run: bool = False,
) -> list[Telling]:
    """Take in what stands and what happened, and tell each channel what is due. A channel that fails holds up no other.

    Dry: the messages are returned, nobody is told, and nothing is remembered. Raises `StoreError`.
    """
    happened = {key: _happened(state.get(key)) for key in islice(list(state.keys(_HAPPENED)), _AT_ONCE)}
    signals = [*standing, *(signal for signal in happened.values() if signal is not None)]
    tellings: list[Telling] = []
    for name, (channel, every) in channels.items():
        key = f"{_TOLD}{name}.json"
        before = _stored(state, key)
        memory = observe(Memory.parse(before), signals, now)
        due = digest(memory, now, every)
        failure = ""
        if due is not None and not dry_run:
            try:
                channel.send(due.subject, due.text)
                memory = due.after
            except DeliveryError as error:
                memory, failure = memory.failed(now), str(error)
        if not dry_run and str(memory).encode() != before:
            state.put(key, str(memory).encode())
        tellings.append(Telling(channel=name, text=due.text if due else "", failure=failure))
    if not dry_run:
        for key in happened:
            state.delete(key)
    return tellings


def _stored(state: ObjectStore, key: str) -> bytes:
    try:
        return state.get(key)
    except ObjectNotFound:
        return b""


def _happened(data: bytes) -> Signal | None:
    """Read what `remember` kept; something else is nothing."""
    try:
        values: dict[str, Any] = json.loads(data)
        return replace(Signal(**values), happened=True)
    except (ValueError, TypeError):
        return None
