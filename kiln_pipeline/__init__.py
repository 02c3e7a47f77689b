"""kiln finds the wheels that a package index lacks, builds them, publishes them, and keeps an audit trail.

    recipes + upstream -> release_metadata -> missing_wheels -> wheels -> audit_log -> simple_index

The rooms, each importing only from those to its left (import-linter enforces it):

    errors <- core <- ports <- stages | adapters <- workspace <- defs <- definitions <- cli

`core` is pure; `ports` are the Protocols that `stages` need and `adapters` provide; `defs` is the only Dagster code.
"""
