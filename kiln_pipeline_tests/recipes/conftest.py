"""What building recipes shares with the builders' own tests."""

from kiln_pipeline_tests.adapters.conftest import tools_folder

__all__ = ["tools_folder"]
