"""Tests of injection: from requests to messages."""
