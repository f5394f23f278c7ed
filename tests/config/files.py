"""Configuration files for tests, written into a directory of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config import reading
from kumotwist.config.awaited import AWAITED
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import read_config
from kumotwist.config.reading import fields_of
from kumotwist.config.server import Config

# What is no parameter of a Struct and can be read.
READ = {"event_args", "event_name", "key_data", "listener", "provider"}


def unreadable() -> Mapping[Any, frozenset[str]]:
    """Of what is awaited, that which cannot be read either: what is left once all stages use all values that there are."""
    return {whose: names - (fields_of(whose).keys() if isinstance(whose, type) else READ) for whose, names in AWAITED.items()}


def use_all_values(case: SynchronousTestCase) -> None:
    """In this test nothing is refused only because no stage uses it yet."""
    case.patch(reading, "AWAITED", unreadable())


class ConfigTestCase(SynchronousTestCase):
    """A test with a directory for configuration files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, content: str | bytes, **files: str | bytes) -> Config:
        """The configuration in `content`; beside it files, `_toml` at the end of an argument standing for `.toml`."""
        for name, other in files.items():
            stem, _, ending = name.rpartition("_")
            self.write(f"{stem}.{ending}", other)
        return read_config(self.write("main.yaml", content))

    def faults(self, content: str | bytes, **files: str | bytes) -> list[str]:
        """The lines of what is wrong, with file names relative to the directory."""
        found = self.assertRaises(ConfigFaults, self.read, content, **files)
        assert isinstance(found, ConfigFaults)
        return str(found).replace(f"{self.directory.absolute()}/", "").replace(f"{self.directory}/", "").splitlines()
