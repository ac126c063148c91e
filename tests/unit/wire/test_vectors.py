"""The Rust codec and Python's generated one say the same: frames that Rust wrote, read here and written again.

The file is written by core_rs/wire/src/tests/samples.rs, which also holds it to be current.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from pyrouter import wire

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors/frames.json").read_text())
KINDS: dict[str, type[wire.ClientFrame | wire.ServerFrame]] = {
    "pyrouter.v1.ClientFrame": wire.ClientFrame,
    "pyrouter.v1.ServerFrame": wire.ServerFrame,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: next(iter(vector["json"])))
def test_a_frame_from_rust_is_read_and_written_the_same(vector: dict[str, Any]) -> None:
    kind = KINDS[vector["frame"]]
    encoded = bytes.fromhex(vector["hex"])
    frame = kind.FromString(encoded)
    assert frame.SerializeToString(deterministic=True) == encoded
    assert frame == json_format.ParseDict(vector["json"], kind())


def test_there_is_a_vector_for_every_frame() -> None:
    for name, kind in KINDS.items():
        seen = {kind.FromString(bytes.fromhex(v["hex"])).WhichOneof("frame") for v in VECTORS if v["frame"] == name}
        assert seen == {field.name for field in kind.DESCRIPTOR.fields}
