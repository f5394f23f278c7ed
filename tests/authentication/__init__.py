"""Tests of kumotwist.authentication, and of what signs and checks with it."""
