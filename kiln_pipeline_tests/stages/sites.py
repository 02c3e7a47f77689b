"""Whole small sites in memory, made by the real stages: attempts recorded, pages published."""

from collections.abc import Iterable
from dataclasses import replace

from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.record import load_attempts, record
from kiln_pipeline_tests.audit_samples import FAILURE, HOSTS, LOG, Silent, sample_bundle, sample_plan
from kiln_pipeline_tests.core.simple_index.pages import upstream_file
from kiln_pipeline_tests.fakes import MemoryStore


def grow(site: ObjectStore, state: ObjectStore, pythons: Iterable[str], *, failures: Iterable[str] = ()) -> None:
    """Record an attempt of wrapt for each of `pythons`, and a failed one for each of `failures`."""
    inbox = MemoryStore()
    for minutes, python in enumerate([*pythons, *failures]):
        failure = FAILURE if python in failures else None
        bundle, files = sample_bundle(sample_plan(python=python), failure=failure, minutes=minutes)
        inbox.objects |= {f"{bundle}/{name}": data for name, data in files.items()}
    report = record(inbox=inbox, site=site, state=state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent())
    assert report.refused == ()


def publish_projects(site: ObjectStore, state: ObjectStore, *projects: str, yanked: bool = False) -> None:
    """Publish pages of `projects`, each with an upstream sdist, wrapt's with what the log has."""
    sdist = sample_plan().sdist
    pages = {
        project: ProjectPage(
            project=project,
            files=(replace(sdist, yanked=yanked) if project == "wrapt" else upstream_file(f"{project}-1.0.tar.gz"),),
            versions=("1.0",),
        )
        for project in projects
    }
    report = publish(
        projects=list(pages),
        metadata=lambda _: replace_projects(empty(), pages),
        project_table=replace_states(empty_projects(), {name: ProjectState.of(page) for name, page in pages.items()}),
        attempts=load_attempts(state, site),
        superseded=(),
        site=site,
        state=state,
        signer=LOG,
        progress=Silent(),
    )
    assert report.problems == ()
