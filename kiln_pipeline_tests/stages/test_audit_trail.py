"""The whole way with the real stages: build, record, publish, verify; what one writes, the next one reads."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.record import load_attempts, record
from kiln_pipeline.stages.verify import compare_index_with_log, verify_wheel
from kiln_pipeline_tests.audit_samples import FAILURE, HOST, HOSTS, LOG, RECIPE_SHA256, Silent, sample_plan, sdist_bytes
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream, ScriptedBuilder


def test_from_the_build_to_the_verified_wheel(tmp_path: Path):
    """A wheel and a failure go through every stage; the wheel verifies, and page and log say the same."""
    plan = sample_plan()
    failing = replace(plan, identifier=replace(plan.identifier, python=replace(plan.identifier.python, minor=10)))
    page = ProjectPage(project="wrapt", files=(plan.sdist,), versions=("1.14.0",))
    upstream = MemoryUpstream({"wrapt": page}, {plan.sdist.filename: sdist_bytes("wrapt", "1.14.0")})
    inbox, site, state = MemoryStore(), MemoryStore(), MemoryStore()
    times = iter(datetime(2026, 11, 1, 12, minute, tzinfo=UTC) for minute in range(4))
    built = [
        build_wheel(
            each,
            builder=ScriptedBuilder({str(failing.identifier): replace(FAILURE, proof="error: é")}),
            upstream=upstream,
            inbox=inbox,
            signer=HOST,
            clock=lambda: next(times),
            work=tmp_path,
            progress=Silent(),
        )
        for each in (plan, failing)
    ]
    report = record(
        inbox=inbox, site=site, state=state, log_signer=LOG, hosts=HOSTS, recipes={"wrapt": RECIPE_SHA256}, progress=Silent()
    )
    assert report.refused == ()
    assert report.recorded == tuple(replace(attempt, index=number) for number, attempt in enumerate(built))
    attempts = load_attempts(state, site)
    publish(
        projects=["wrapt"],
        metadata=lambda _: replace_projects(empty(), {"wrapt": page}),
        project_table=replace_states(empty_projects(), {"wrapt": ProjectState.of(page)}),
        attempts=attempts,
        superseded=set(),
        site=site,
        state=state,
        signer=LOG,
        progress=Silent(),
    )
    wheel = attempts[0].wheel
    verification = verify_wheel(
        site.get(site_layout.wheel(wheel)),
        wheel,
        fetch=site.get,
        log_key=site.get(site_layout.LOG_KEY).decode(),
        sdist_fetch=lambda url: upstream.files[url.rpartition("/")[2]],
    )
    assert replace(verification.statement.attempt, index=0) == attempts[0]
    assert site.get(site_layout.LOG_KEY).decode().strip() == str(VerifierKey.of(LOG))
    assert compare_index_with_log(site, attempts, ["wrapt"]) == []
