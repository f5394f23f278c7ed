"""Tests of reports of bounces and complaints."""
