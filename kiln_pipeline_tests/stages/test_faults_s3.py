"""Record and publish into a real S3-compatible server through a proxy that refuses, delays, cuts and loses answers.

The reader looks at the bucket itself after each change; the publisher runs again until it comes to its end, to the bytes of a
life without faults.
"""

from dataclasses import replace

import pytest

from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import S3Location, connect
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.fault_proxy import FaultProxy
from kiln_pipeline_tests.faulty_store import Faults
from kiln_pipeline_tests.s3_server import S3Server
from kiln_pipeline_tests.stages.test_faults import World, lives, steps

pytestmark = pytest.mark.slow


def through(proxy: FaultProxy, location: S3Location) -> S3Store:
    place = replace(location, endpoint_url=proxy.url)
    return S3Store(place, client=connect(place, connections=4, attempts=3), threads=4)


@pytest.mark.parametrize("seed", range(4))
def test_a_service_that_fails_shows_no_reader_a_lie(s3_server: S3Server, seed: int) -> None:
    site_place, state_place = s3_server.new_bucket("site/"), s3_server.new_bucket("state/")
    with FaultProxy(s3_server.endpoint, seed=seed, chance=0.15) as proxy:
        site, state = through(proxy, site_place), through(proxy, state_place)
        world = World(MemoryStore(), site, state)
        world.reader.site = S3Store(site_place)
        for step, (_, after, _) in zip(steps()[:2], lives(), strict=False):
            world.deliver(step)
            runs = 0
            while not world.run_with(step, Faults()):
                runs += 1
                assert runs < 60, "it does not come to its end"
            proxy.chance, before = 0.0, proxy.chance
            assert world.objects() == after
            proxy.chance = before
        assert len(set(proxy.met)) > 5
