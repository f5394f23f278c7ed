"""
Policy files and the modules beside them, imported anew each time: nothing of an earlier loading is seen by a later one.

A policy file becomes a module of a name of its own, which is known to Python for as long as the policy lives.  Modules in its
directory can be imported while it loads, unless a name is that of a module of Python's, of ours, or of a package that is in
use already: the server must not find a policy's module in place of its own.
No bytecode is kept: what counts is what the file says now, even if it changed twice within one second.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from itertools import count
from os.path import basename, dirname, splitext
from types import ModuleType

_NOT_THEIRS = sys.stdlib_module_names | {"kumotwist", "twisted", "zope"}
_numbers = count(1)  # names of policy modules never repeat, so that two policies cannot meet in one


class FreshLoader(SourceFileLoader):
    """Compiles the source as it is now: without the time and size of a file, Python neither reads nor writes bytecode."""

    def path_stats(self, path: str) -> dict[str, object]:
        raise OSError(path)


class BesidePolicy:
    """Finds modules in the directory of a policy file, and notes which."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.found: set[str] = set()  # names of modules, those of packages with their dots
        self.files: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top in _NOT_THEIRS or (path is not None and top not in self.found):
            return None
        for directory in [self._directory] if path is None else path:
            spec = FileFinder(directory, (FreshLoader, [".py"])).find_spec(name)
            if spec is not None and spec.origin is not None:
                self.found.add(name)
                self.files.add(spec.origin)
                return spec
        return None


class PolicyModules:
    """The modules of one policy.  names: those that stay in sys.modules while the policy lives; files: all that were read."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.files: set[str] = set()
        self._beside: dict[str, dict[str, ModuleType]] = {}  # directory → its modules, shared by the policy's files

    def execute(self, file: str) -> ModuleType:
        """Load one file.  Raises whatever it raises."""
        self.files.add(file)
        module = ModuleType(f"kumotwist_policy_{next(_numbers)}_{splitext(basename(file))[0]}")
        module.__file__ = file
        with open(file, "rb") as stream:
            source = stream.read()
        code = compile(source, file, "exec", dont_inherit=True)
        sys.modules[module.__name__] = module
        self.names.append(module.__name__)
        with self._importing(dirname(file)):
            exec(code, module.__dict__)
        return module

    @contextmanager
    def _importing(self, directory: str) -> Iterator[None]:
        """While this lasts, modules of the directory can be imported."""
        known = self._beside.setdefault(directory, {})
        finder = BesidePolicy(directory)
        finder.found |= known.keys()
        hidden = {name: sys.modules[name] for name in known if name in sys.modules}
        sys.modules.update(known)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            known.update((name, sys.modules.pop(name)) for name in finder.found if name in sys.modules)
            sys.modules.update(hidden)
            self.files |= finder.files


def forget(names: Sequence[str]) -> None:
    """Take a policy's modules out of Python's list."""
    for name in names:
        sys.modules.pop(name, None)
