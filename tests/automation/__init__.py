"""Tests of kumotwist.automation."""
