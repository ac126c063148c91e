"""An extension older than its sources refuses to run in a checkout."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyrouter import _stamp

CHECKOUT = Path(_stamp.__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, with a package that was built from them."""
    for paths in _stamp.SOURCES.values():
        for path in paths:
            source, target = CHECKOUT / path, tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
    built = _stamp.of_sources(tmp_path)
    monkeypatch.setattr(_stamp, "__file__", str(tmp_path / "pyrouter" / "_stamp.py"))
    monkeypatch.setattr(
        _stamp, "import_module", lambda name: SimpleNamespace(build_stamp=lambda: built[name.rpartition(".")[2]])
    )
    return tmp_path


def test_extensions_of_these_sources_are_accepted(checkout: Path) -> None:
    _stamp.check()


@pytest.mark.parametrize(
    ("file", "extension"), [("core_rs/src/lib.rs", "_core"), ("Cargo.lock", "_core"), ("ext/_conn.pyx", "_conn")]
)
def test_an_extension_older_than_its_sources_is_refused(checkout: Path, file: str, extension: str) -> None:
    with (checkout / file).open("a") as source:
        source.write("\n")
    with pytest.raises(ImportError, match=rf"pyrouter\.{extension} is older than its sources in .*: run `make build`"):
        _stamp.check()


def test_a_removed_and_a_renamed_source_count_as_changes(checkout: Path) -> None:
    before = _stamp.of_sources(checkout)
    (checkout / "core_rs/src/lib.rs").rename(checkout / "core_rs/src/core.rs")
    renamed = _stamp.of_sources(checkout)
    (checkout / "core_rs/src/core.rs").unlink()
    removed = _stamp.of_sources(checkout)
    assert len({before["_core"], renamed["_core"], removed["_core"]}) == 3
    assert before["_conn"] == renamed["_conn"] == removed["_conn"]


def test_what_is_no_source_does_not_count(checkout: Path) -> None:
    before = _stamp.of_sources(checkout)
    (checkout / "ext" / "_conn.pyx~").write_text("an editor's copy")
    assert _stamp.of_sources(checkout) == before


def test_a_missing_extension_says_what_to_do(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> SimpleNamespace:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_stamp, "import_module", missing)
    with pytest.raises(ImportError, match=r"not built for this Python in .*: run `make build`"):
        _stamp.check()


def test_an_installed_package_is_not_checked(checkout: Path) -> None:
    shutil.rmtree(checkout / "ext")
    _stamp.check()


def test_the_running_extensions_are_of_this_checkout() -> None:
    _stamp.check()
