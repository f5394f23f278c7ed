"""Tests of the classes of bounces."""
