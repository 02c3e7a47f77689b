"""Tests of the pages for people, as readers meet them."""
