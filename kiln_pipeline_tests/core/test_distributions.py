"""Names and releases, normalised and refused."""

import pytest

from kiln_pipeline.core.distributions import Release, project_name
from kiln_pipeline.errors import RecipeError


def test_a_release_is_written_and_read_normalised():
    assert str(Release.parse("Zope.Interface == 5.0.0rc01")) == "zope-interface==5.0.0rc1"


@pytest.mark.parametrize("text", ["grpcio", "grpcio==", "==1.0", "grpcio==one", "grp cio==1.0", ""])
def test_what_is_no_release_is_refused_with_an_example(text: str):
    with pytest.raises(RecipeError, match=r"for example grpcio==1\.47\.2"):
        Release.parse(text)


def test_a_homoglyph_is_no_project_name():
    """The Kelvin sign's lower case is a plain k: only ASCII passes."""
    with pytest.raises(ValueError, match="no valid project name"):
        project_name("\u212ailn")
