-- The role of a build host: what the worker of one run needs of Dagster's storage, and nothing more. Run by the owner of the tables,
-- once Dagster has made them, and again after an upgrade of Dagster. Then give each host a login of its own:
--
--   CREATE ROLE "mac-mini-1" LOGIN PASSWORD '…' IN ROLE kiln_host;
--
-- A host with it reads all runs and events, appends events, and writes state and tags of build runs that were launched. It removes
-- nothing, touches no run of the control plane's or the publisher's, queues none, and makes no table. What it writes about a run
-- is not what is published: that is what its signed bundle says, and the publisher checks it.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kiln_host') THEN CREATE ROLE kiln_host NOLOGIN; END IF;
END $$;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM kiln_host;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO kiln_host;

GRANT SELECT ON
  alembic_version, instance_info, kvs, secondary_indexes, snapshots, runs, run_tags, event_logs, asset_keys, asset_event_tags,
  asset_check_executions, dynamic_partitions, concurrency_limits, concurrency_slots, pending_steps,
  daemon_heartbeats
TO kiln_host;
GRANT INSERT ON event_logs, asset_event_tags TO kiln_host;
GRANT INSERT, UPDATE ON run_tags, asset_keys, asset_check_executions TO kiln_host;
GRANT UPDATE (status, run_body, partition, partition_set, update_timestamp, start_time, end_time) ON runs TO kiln_host;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO kiln_host;

-- The owner of the tables is bound by none of this.
ALTER TABLE runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE run_tags ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS kiln_host_reads ON runs;
DROP POLICY IF EXISTS kiln_host_writes ON runs;
DROP POLICY IF EXISTS kiln_host_reads ON run_tags;
DROP POLICY IF EXISTS kiln_host_adds ON run_tags;
DROP POLICY IF EXISTS kiln_host_writes ON run_tags;
CREATE POLICY kiln_host_reads ON runs FOR SELECT TO kiln_host USING (true);
CREATE POLICY kiln_host_writes ON runs FOR UPDATE TO kiln_host
  USING (
    status IN ('STARTING', 'STARTED', 'CANCELING', 'CANCELED', 'FAILURE', 'SUCCESS')
    AND EXISTS (SELECT FROM run_tags AS tag WHERE tag.run_id = runs.run_id AND tag.key = 'dagster/partition/platform')
  )
  WITH CHECK (status IN ('STARTING', 'STARTED', 'CANCELING', 'CANCELED', 'FAILURE', 'SUCCESS'));
CREATE POLICY kiln_host_reads ON run_tags FOR SELECT TO kiln_host USING (true);
CREATE POLICY kiln_host_adds ON run_tags FOR INSERT TO kiln_host WITH CHECK (key <> 'dagster/partition/platform');
CREATE POLICY kiln_host_writes ON run_tags FOR UPDATE TO kiln_host
  USING (key <> 'dagster/partition/platform') WITH CHECK (key <> 'dagster/partition/platform');
