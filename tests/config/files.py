"""Configuration files for tests, written into a directory of their own."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import read_config
from kumotwist.config.server import Config


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
