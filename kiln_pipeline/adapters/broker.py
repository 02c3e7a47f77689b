"""The broker (Redis) besides its messages: signs of life, who holds which run, what waits in a queue. Messages are Celery's.

A run is held by at most one host: the hold is a key that expires unless its holder renews it, so that a message which is
delivered twice starts nothing twice, and a run whose host is gone is known by the missing key. Times are by the broker's clock.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from kiln_pipeline.core.signs_of_life import BEAT_SECONDS, MISSED, SignOfLife
from kiln_pipeline.errors import Problem, RecipeError, StoreError

_HOSTS = "kiln:hosts"
_TIMEOUT = 5.0
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Broker:
    """The broker at one address (``redis://host:6379/0``; ``rediss://`` with TLS)."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("redis://", "rediss://")):
            message = f"{url.partition(':')[0]!r} is no broker that kiln knows: write redis://host:6379/0, or rediss:// with TLS"
            raise RecipeError([Problem(file="environment", field="KILN_BROKER", message=message)])
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, decode_responses=True
        )

    def claim(self, run_id: str, host: str, *, seconds: float = BEAT_SECONDS * MISSED) -> bool:
        """Make `host` the holder of a run, for `seconds`, and say whether that worked: not when another holds it."""
        with _reaching():
            return bool(self._redis.set(_hold(run_id), host, nx=True, px=_milliseconds(seconds)))

    def tell(self, sign: SignOfLife, *, seconds: float = BEAT_SECONDS * MISSED) -> None:
        """Leave a host's sign of life, and renew its hold on the runs that it has for `seconds`."""
        with _reaching(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(_HOSTS, sign.host, f"{self._now()} {sign.text}")
            for run_id in sign.runs:
                pipeline.set(_hold(run_id), sign.host, px=_milliseconds(seconds))
            pipeline.execute()

    def release(self, run_id: str, host: str) -> None:
        """End the hold of `host` on a run, if it has it."""
        with _reaching():
            self._redis.eval(_RELEASE, 1, _hold(run_id), host)

    def holder(self, run_id: str) -> str:
        """Return the host that holds a run; empty when none does."""
        with _reaching():
            return self._redis.get(_hold(run_id)) or ""

    def signs(self) -> tuple[SignOfLife, ...]:
        """Return the last sign of every host that ever gave one, by name; one that was stopped in order takes no platform."""
        with _reaching():
            now, told = self._now(), self._redis.hgetall(_HOSTS)
        found: list[SignOfLife] = []
        for _, text in sorted(told.items()):
            then, _, sign = text.partition(" ")
            found.append(SignOfLife.parse(sign, age=max(0.0, now - float(then))))
        return tuple(found)

    def live(self, *, seconds: float = BEAT_SECONDS * MISSED) -> tuple[SignOfLife, ...]:
        """Return the hosts that gave a sign within the last `seconds` and take runs."""
        return tuple(sign for sign in self.signs() if sign.age <= seconds and sign.platforms)

    def waiting(self, queue: str) -> tuple[str, ...]:
        """Return the ids of the tasks in a queue that no host has taken yet, the next one last."""
        with _reaching():
            return tuple(json.loads(message)["headers"]["id"] for message in self._redis.lrange(queue, 0, -1))

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return seconds + microseconds / 1e6


def _hold(run_id: str) -> str:
    return f"kiln:run:{run_id}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreError(key="the broker", reason=str(error), hint="KILN_BROKER names it") from error
