"""The build hosts' database role on a real PostgreSQL: a whole run works with it, and nothing else does."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.api import execute_run
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from kiln_pipeline.adapters.host_facts import database_facts
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.host_checks import Level, database
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.definitions import assemble
from kiln_pipeline.defs.partitions import partition_key, releases
from kiln_pipeline_tests.postgres_server import PostgresServer
from kiln_pipeline_tests.workspaces import memory_workspace

ROLE = Path(__file__).parents[2] / "deploy" / "control-plane" / "kiln_host.sql"
RELEASE, PLATFORM = Release(project="markupsafe", version="2.0.1"), Platform.MANYLINUX_X86_64


def instance_of(url: str, folder: Path, *, owner: bool) -> dg.DagsterInstance:
    folder.mkdir()
    storage = {"postgres": {"postgres_url": url, "should_autocreate_tables": owner}}
    (folder / "dagster.yaml").write_text(str({"storage": storage, "telemetry": {"enabled": False}}))
    return dg.DagsterInstance.from_config(str(folder))


@pytest.mark.slow
def test_a_run_works_with_the_narrow_role_and_removes_nothing(tmp_path: Path) -> None:
    workspace = memory_workspace(tmp_path / "home")
    with PostgresServer() as server:
        host_url = server.url.replace("kiln@", "box@")
        with instance_of(server.url, tmp_path / "owner", owner=True) as owner:
            # in here, since Dagster asks the current instance for the state of definitions: an earlier test's may be gone
            definitions = assemble(workspace)
            job = definitions.resolve_implicit_global_asset_job_def()
            engine = create_engine(server.url)
            with engine.begin() as connection:
                connection.exec_driver_sql(ROLE.read_text().replace("%", "%%"))
                connection.execute(text("CREATE ROLE box LOGIN IN ROLE kiln_host"))
            with engine.begin() as connection:
                connection.exec_driver_sql(ROLE.read_text())  # once more: after an upgrade
            engine.dispose()
            owner.add_dynamic_partitions(releases.name, [str(RELEASE)])
            refresh = definitions.resolve_job_def("refresh")
            assert refresh.execute_in_process(instance=owner).success
            key = partition_key(RELEASE, PLATFORM)
            tags = {f"dagster/partition/{name}": value for name, value in key.keys_by_dimension.items()}
            subset = job.get_subset(asset_selection={dg.AssetKey("wheels")})
            run = owner.create_run_for_job(
                subset, tags={**tags, "dagster/partition": str(key)}, asset_selection=subset.asset_selection
            )
            owner.report_dagster_event(  # as the launcher does before a host has it
                DagsterEvent(DagsterEventType.RUN_STARTING.value, run.job_name), run.run_id
            )
            with instance_of(host_url, tmp_path / "host", owner=False) as host:
                host.add_run_tags(run.run_id, {"kiln/host": "box"})
                taken = host.get_run_by_id(run.run_id)
                assert taken is not None
                assert execute_run(InMemoryJob(subset), taken, host).success
            assert owner.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.SUCCESS
            assert owner.get_latest_materialization_event(dg.AssetKey("wheels")) is not None
        assert list(workspace.inbox.keys())
        finding = database(database_facts(host_url))
        assert (finding.level, finding.told.endswith("answers, with the narrow role")) == (Level.OK, True)
        assert database(database_facts(server.url)).level is Level.NOTE
        stranger = create_engine(host_url)
        for refused in (
            "DELETE FROM runs",
            "DELETE FROM event_logs",
            "UPDATE event_logs SET event = ''",
            "UPDATE runs SET run_id = 'x'",
            "UPDATE runs SET status = 'QUEUED'",
            "INSERT INTO run_tags (run_id, key, value) SELECT run_id, 'dagster/partition/platform', 'x' FROM runs",
            "INSERT INTO runs (run_id, snapshot_id, status) VALUES ('x', 'x', 'QUEUED')",
            "SELECT * FROM bulk_actions",
            "INSERT INTO jobs (job_origin_id) VALUES ('x')",
            "UPDATE kvs SET value = 'x'",
            "CREATE TABLE mine (x int)",
        ):
            with stranger.begin() as connection, pytest.raises(ProgrammingError, match=r"permission denied|row-level security"):
                connection.exec_driver_sql(refused)
        with stranger.begin() as connection:
            assert connection.execute(text("UPDATE runs SET run_body = '' WHERE pipeline_name = 'refresh'")).rowcount == 0
        stranger.dispose()
