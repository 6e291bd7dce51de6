"""Tests of runner.doctor: every finding is planted in a real run directory."""
