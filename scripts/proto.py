"""Generate the Python module of the wire from its schema: `make proto`.

python scripts/proto.py [FOLDER]   (default: pyrouter/wire)

The versions of the generators are pinned in pyproject.toml (extra `dev`), so that everybody generates the same bytes.
tests/unit/wire/test_generated.py holds what is checked in to what this makes.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = Path("pyrouter/v1/wire.proto")  # this name stands in every process's descriptor pool: keep it qualified


def generate(folder: Path) -> list[Path]:
    """Write `wire_pb2.py` and `wire_pb2.pyi` into `folder`; return their paths."""
    with tempfile.TemporaryDirectory() as made:
        plugin = Path(sys.executable).parent / "protoc-gen-mypy"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--proto_path={ROOT / 'core_rs/wire/proto'}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={made}",
            f"--mypy_out=quiet:{made}",
            str(SCHEMA),
        ]
        subprocess.run(command, check=True)
        folder.mkdir(parents=True, exist_ok=True)
        sources = sorted((Path(made) / SCHEMA.parent).iterdir())
        return [Path(shutil.copy(source, folder / source.name)) for source in sources]


if __name__ == "__main__":
    for path in generate(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "pyrouter/wire"):
        print(path)
