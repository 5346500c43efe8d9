"""Tests of the zoo and its examples."""
