"""The registry of protocols: each is imported on first use, and says what it needs."""

import importlib
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from udfs.errors import ModelLoadError
from udfs.formats import Format, import_format
from udfs.remotes import REMOTES, Surroundings, connect


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelLoadError, match=r"unknown format 'soap'; known: grpc, mlflow, open-inference"):
        connect("soap", {}, Surroundings())


@pytest.mark.parametrize("name", sorted(REMOTES))
def test_a_protocol_s_module_can_be_imported(name: str) -> None:
    assert callable(import_format(REMOTES, name).connect)


@pytest.mark.parametrize("name", sorted(REMOTES))
def test_a_url_is_needed_by_every_protocol(name: str) -> None:
    with pytest.raises(ModelLoadError, match="url is missing"):
        connect(name, {"method": "pack.Service/Method"} if name == "grpc" else {}, Surroundings())


def test_no_protocol_is_imported_with_the_registry() -> None:
    code = (
        "import sys, udfs.remotes; "
        "print([name for name in ('grpc', 'tritonclient', 'udfs.remotes.rest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestMissingLibraries:
    FORMATS: ClassVar = {"x": Format("made_up_module", "group", ("made_up_library",), ())}

    @staticmethod
    def missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        def import_module(_: str) -> Any:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        monkeypatch.setattr(importlib, "import_module", import_module)

    def test_a_missing_library_is_named_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.missing(monkeypatch, "made_up_library.part")
        with pytest.raises(ModelLoadError) as caught:
            import_format(self.FORMATS, "x")
        assert str(caught.value) == (
            "format 'x' needs made_up_library.part, which is not installed: pip install 'modelstream[group]'"
        )

    def test_another_missing_module_is_a_bug_and_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.missing(monkeypatch, "something_else")
        with pytest.raises(ModuleNotFoundError):
            import_format(self.FORMATS, "x")
