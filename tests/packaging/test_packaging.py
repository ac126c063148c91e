"""One wheel, two extensions: from a checkout, from an sdist, and editable.

The traps that these tests hold shut are told in docs/adr/0001-one-wheel-two-extensions.md. They build for real and take
minutes, so they are a step of their own: `make packaging`.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1800)  # seconds: it compiles, perhaps from nothing

CHECKOUT = Path(__file__).parents[2]

# Everything that another Python, an old build or a clumsy editor could leave in a checkout.
LEFT_BEHIND = (
    "pyrouter/_conn.cpython-39-x86_64-linux-gnu.so",
    "pyrouter/_core.cpython-39-x86_64-linux-gnu.so",
    "pyrouter/__pycache__/config.cpython-39.pyc",
)

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, pyrouter
assert pyrouter.__file__.startswith(sys.argv[1]), pyrouter.__file__
names = ["pyrouter", *(module.name for module in pkgutil.walk_packages(pyrouter.__path__, "pyrouter."))]
for name in names:
    if name.rpartition(".")[2] == "__main__":
        continue
    module = importlib.import_module(name)
    missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
    assert not missing, f"{name}.__all__ names what is not there: {missing}"
assert {"pyrouter._core", "pyrouter._conn"} <= sys.modules.keys()
print(pyrouter.__version__)
"""


def run(*command: str | Path, cwd: Path = CHECKOUT, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `command` and return what it printed; on failure everything that it said is in the report."""
    # One target directory for all: the crates that the core needs are compiled once, and without optimisation.
    target = os.environ.get("CARGO_TARGET_DIR", str(CHECKOUT / "target"))
    environment = os.environ | {"CARGO_TARGET_DIR": target, "PYROUTER_DEV": "1"}
    for name in ("PYTHONPATH", "FORCE_COLOR", "GITHUB_ACTIONS"):  # the last two put colours between the words of a help
        environment.pop(name, None)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def only(directory: Path, pattern: str) -> Path:
    """The one file in `directory` that matches."""
    [found] = directory.glob(pattern)
    return found


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout that git knows (and new ones that it would), with what others left behind."""
    root = tmp_path_factory.mktemp("copy") / "pyrouter"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout.split("\0")
    for name in filter(None, listed):
        if (CHECKOUT / name).is_file():  # not one that is deleted and not yet committed
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, root / name)
    shutil.copy(CHECKOUT / ".gitignore", root)
    run("git", "init", "--quiet", cwd=root)  # what git ignores is part of the trap
    for name in LEFT_BEHIND:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"stale")
    return root


@pytest.fixture(scope="module")
def through_sdist(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it alone."""
    out = tmp_path_factory.mktemp("through-sdist")
    run(sys.executable, "-m", "build", "--outdir", out, copy)
    return out


@pytest.fixture(scope="module")
def direct(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the checkout itself."""
    out = tmp_path_factory.mktemp("direct")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, copy)
    return only(out, "*.whl")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The programs of a fresh virtual environment."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    return tmp_path / "venv" / "bin"


def assert_works(programs: Path, home: Path, elsewhere: Path) -> None:
    """Everything in the package imports from `home`, and the command runs."""
    version = run(programs / "python", "-c", IMPORT_EVERYTHING, home, cwd=elsewhere).stdout.strip()
    assert "pyrouter [OPTIONS] COMMAND" in run(programs / "pyrouter", "--help", cwd=elsewhere).stdout
    assert "--listen" in run(programs / "pyrouter", "serve", "--help", cwd=elsewhere).stdout
    assert version in run(programs / "pip", "show", "pyrouter-server", cwd=elsewhere).stdout


def test_the_wheel_holds_exactly_two_extensions_and_nothing_foreign(direct: Path) -> None:
    files = files_of(direct)
    native = {name for name in files if name.endswith((".so", ".pyd", ".dylib"))}
    suffix = f".cpython-{sys.version_info.major}{sys.version_info.minor}-*.so"
    assert len(native) == 2, native
    assert {stem for stem in ("_core", "_conn") for name in native if fnmatch(name, f"pyrouter/{stem}{suffix}")} == {
        "_core",
        "_conn",
    }
    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"pyrouter", "pyrouter_server"}
    assert not [name for name in files if name.endswith((".pyc", ".pyx", ".c", ".rs"))]
    assert {"pyrouter/py.typed", "pyrouter/_core.pyi", "pyrouter/_conn.pyi"} <= files


def test_the_wheel_is_no_stable_abi_wheel(direct: Path) -> None:
    # The Cython half cannot keep that promise.
    interpreter = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert direct.name.split("-")[2:4] == [interpreter, interpreter]


def test_an_sdist_holds_all_that_the_wheel_needs(through_sdist: Path, direct: Path) -> None:
    assert files_of(only(through_sdist, "*.whl")) == files_of(direct)


def test_an_sdist_holds_sources_only(through_sdist: Path) -> None:
    with tarfile.open(only(through_sdist, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "Cargo.lock", "LICENSE", "ext/_conn.pyx", "ext/build_backend.py"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith(("target/", "build/"))]


def test_a_wheel_from_an_sdist_works_in_a_fresh_environment(
    through_sdist: Path, environment: Path, tmp_path: Path
) -> None:
    run(environment / "pip", "install", "--quiet", only(through_sdist, "*.whl"), cwd=tmp_path)
    assert_works(environment, environment.parent / "lib", tmp_path)


def test_an_editable_install_works_and_refuses_to_run_once_its_sources_changed(
    copy: Path, environment: Path, tmp_path: Path
) -> None:
    run(environment / "pip", "install", "--quiet", "--editable", copy, cwd=tmp_path)
    assert_works(environment, copy, tmp_path)
    for source, extension in (("core_rs/src/lib.rs", "_core"), ("ext/_conn.pyx", "_conn")):
        before = (copy / source).read_bytes()
        (copy / source).write_bytes(before + b"\n")
        refused = run(environment / "python", "-c", "import pyrouter", cwd=tmp_path, check=False)
        (copy / source).write_bytes(before)
        assert refused.returncode != 0
        assert f"pyrouter.{extension} is older than its sources" in refused.stderr
        assert "make build" in refused.stderr
    assert run(environment / "python", "-c", "import pyrouter", cwd=tmp_path).returncode == 0
