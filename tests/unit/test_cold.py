"""The cold store: what it keeps, beside other processes, and what it refuses to touch."""

import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrouter.cold import ColdDatabase, ColdStore, Load, Store, check_database, found
from pyrouter.errors import ColdStoreError

C1, C2 = b"1" * 16, b"2" * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "cold.db"


def test_a_user_exists_from_its_making_and_has_an_empty_state(path: Path) -> None:
    with ColdDatabase(path) as database:
        assert database.run([Load("user", b"bob")]) == [None]
        assert database.create_user("bob") is True
        assert database.create_user("bob") is False
        assert database.has_user("bob")
        assert not database.has_user("Bob")
        assert database.run([Load("user", b"bob")]) == [b""]


def test_making_a_user_again_keeps_its_state(path: Path) -> None:
    with ColdDatabase(path) as database:
        database.run([Store("user", b"bob", 3, b"state")])
        assert database.create_user("bob") is False
        assert database.run([Load("user", b"bob")]) == [b"state"]


def test_requests_of_one_job_see_each_other_in_order(path: Path) -> None:
    with ColdDatabase(path) as database:
        job: list[Load | Store] = [
            Load("conversation", C1),
            Store("conversation", C1, 1, b"one"),
            Load("conversation", C1),
            Store("conversation", C1, 2, b"two"),
            Store("user", "Åke".encode(), 1, b""),
            Load("conversation", C1),
            Load("conversation", C2),
            Load("user", "Åke".encode()),
        ]
        assert database.run(job) == [None, None, b"one", None, None, b"two", None, b""]


def test_what_was_stored_is_there_after_opening_again(path: Path) -> None:
    with ColdDatabase(path) as database:
        database.run([Store("conversation", C1, 1, bytes(range(256)))])
    with ColdDatabase(path) as database:
        assert database.run([Load("conversation", C1)]) == [bytes(range(256))]


def test_a_job_that_fails_leaves_nothing_behind(path: Path) -> None:
    with ColdDatabase(path) as database:
        with pytest.raises(sqlite3.IntegrityError):
            database.run([Store("conversation", C1, 1, b"x"), Store("conversation", C2, 1, None)])  # type: ignore[arg-type]
        assert database.run([Load("conversation", C1)]) == [None]


def test_what_is_stored_is_synced_to_the_disk(path: Path) -> None:
    with ColdDatabase(path) as database:
        assert database._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert database._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=8)))))
def test_it_does_what_a_dictionary_does(steps: list[tuple[str, bytes | None]]) -> None:
    model: dict[bytes, bytes] = {}
    with ColdDatabase(Path(":memory:")) as database:
        for version, (name, state) in enumerate(steps):
            key = name.encode()
            if state is not None:
                database.run([Store("user", key, version, state)])
                model[key] = state
            assert database.run([Load("user", key)]) == [model.get(key)]


MAKE_USERS = """
import sys
import zlib
from pathlib import Path
from pyrouter.cold import ColdDatabase
with ColdDatabase(Path(sys.argv[1])) as database:
    print(sum(database.create_user(f"user{number % 20}-{sys.argv[2]}") for number in range(60)))
"""


def test_processes_make_users_beside_a_store_that_is_busy(path: Path) -> None:
    """Several processes open the same new file at once; each name is made exactly once, and no store is lost."""
    commands = [[sys.executable, "-c", MAKE_USERS, str(path), half] for half in "0101"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    with ColdDatabase(path) as database:
        stored = 0
        while any(process.poll() is None for process in processes):
            database.run([Store("conversation", stored.to_bytes(16), 1, b"x")])
            stored += 1
    assert sum(int(process.communicate()[0]) for process in processes) == 40
    with ColdDatabase(path) as database:
        keys = [Load("conversation", number.to_bytes(16)) for number in range(stored)]
        assert database.run(keys) == [b"x"] * stored
        assert all(database.has_user(f"user{number}-{half}") for number in range(20) for half in range(2))


def test_a_database_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ColdStoreError, match="is a database, but not a cold store of pyrouter"):
        ColdDatabase(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 4096)
    with pytest.raises(ColdStoreError, match="cannot be used: file is not a database"):
        ColdDatabase(path)


def test_a_later_version_is_refused_with_what_to_do(path: Path) -> None:
    with ColdDatabase(path) as database:
        database._db.execute("PRAGMA user_version = 99")
    with pytest.raises(ColdStoreError, match="has version 99, this pyrouter knows 2: use the pyrouter that made it"):
        ColdDatabase(path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ColdStoreError, match="cannot be opened"):
        ColdDatabase(tmp_path / "file" / "cold.db")


async def test_the_store_works_off_the_loop_in_the_order_of_the_calls(path: Path) -> None:
    import asyncio

    store = ColdStore(path)
    await store.open()
    try:
        async with asyncio.TaskGroup() as tasks:
            jobs = [
                tasks.create_task(store.run([Store("user", b"bob", n, b"%d" % n), Load("user", b"bob")]))
                for n in range(50)
            ]
        assert [job.result() for job in jobs] == [[None, b"%d" % n] for n in range(50)]
        assert await store.create_user("bob") is False
        assert await store.has_user("bob")
    finally:
        await store.close()
        await store.close()
    with pytest.raises(ColdStoreError, match="is closed"):
        await store.run([])


def test_a_store_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cold.db"
    assert found(path) == "missing"
    assert found(tmp_path / "nowhere" / "cold.db") == "missing"
    assert not path.exists()
    path.touch()
    assert found(path) == "empty"
    with ColdDatabase(path) as database:
        assert database.found() == "empty"
        database.create_user("ann")
        assert database.found() == "unowned"
        database.belong("0000abcd")
        database.belong("0000abcd")
        with pytest.raises(ColdStoreError, match="belongs to another log"):
            database.belong("0000abce")
    assert found(path) == "0000abcd"


def test_a_damaged_row_is_found_by_a_check(tmp_path: Path) -> None:
    path = tmp_path / "cold.db"
    row = zlib.crc32(b"state", zlib.crc32(b"ann")).to_bytes(4, "little") + b"state"
    with ColdDatabase(path) as database:
        database.create_user("bob")
        database.run([Store("user", b"ann", 1, row)])
    assert check_database(path) == (2, 0, (), "unowned")
    with ColdDatabase(path) as database:
        database.run([Store("conversation", bytes(16), 1, row)])
    assert check_database(path) == (
        2,
        1,
        ("cold store: 1 damaged rows: what needs them is refused",),
        "unowned",
    )
