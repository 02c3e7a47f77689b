"""What the stages' tests share with the builders' own."""

from kiln_pipeline_tests.adapters.conftest import tools_folder

__all__ = ["tools_folder"]
