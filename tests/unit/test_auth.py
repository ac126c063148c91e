"""Tokens: what is taken, and every way in which one is not. A refusal never repeats the token."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from pyrouter.auth import Identity, IssuerTokens, LocalTokens, check_user
from pyrouter.errors import AuthError, ConfigError
from pyrouter.keys import parse_keys
from pyrouter.secret import read_secret

HOUR_MS = 3_600_000
SECRET = b"s" * 32


def soon() -> int:
    return int(time.time()) + 3600


def encoded(claims: dict[str, Any], key: Any, algorithm: str = "HS256", **header: str) -> str:
    return jwt.encode({"alg": algorithm, **header}, claims, key, algorithms=[algorithm])


def local(claims: dict[str, Any], secret: bytes = SECRET) -> str:
    return encoded(claims, OctKey.import_key(secret))


async def refusal(tokens: LocalTokens | IssuerTokens, token: str) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await tokens(token)
    assert token == "" or token not in str(caught.value)
    return caught.value


class TestLocal:
    async def test_an_issued_token_names_its_user_device_and_end(self) -> None:
        tokens = LocalTokens(SECRET)
        before = time.time()
        identity = await tokens(tokens.issue("Ålice", 7, HOUR_MS))
        assert identity[:2] == ("Ålice", 7)
        assert before + 3599 <= identity.expires_ms / 1000 <= time.time() + 3600

    async def test_without_a_device_claim_it_is_device_one(self) -> None:
        assert await LocalTokens(SECRET)(local({"sub": "bob", "exp": 2**40})) == Identity("bob", 1, 2**40 * 1000)

    async def test_an_expired_token_says_so_with_its_own_code(self) -> None:
        error = await refusal(LocalTokens(SECRET), local({"sub": "bob", "exp": 1}))
        assert error.code == "token_expired"

    async def test_a_token_of_another_secret_is_bad(self) -> None:
        error = await refusal(LocalTokens(SECRET), local({"sub": "bob", "exp": soon()}, b"t" * 32))
        assert error.code == "bad_token"

    @pytest.mark.parametrize("algorithm", ["none", "None", "HS512", "RS256"])
    async def test_another_algorithm_is_bad_even_with_a_fitting_signature(self, algorithm: str) -> None:
        def part(value: object) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        if algorithm == "HS512":
            token = encoded({"sub": "bob", "exp": soon()}, OctKey.import_key(SECRET * 2), "HS512")
            tokens = LocalTokens(SECRET * 2)
        else:
            token = f"{part({'alg': algorithm})}.{part({'sub': 'bob', 'exp': soon()})}."
            tokens = LocalTokens(SECRET)
        assert (await refusal(tokens, token)).code == "bad_token"

    @pytest.mark.parametrize(
        "claims",
        [
            {"sub": "bob"},
            {"exp": 2**40},
            {"sub": "", "exp": 2**40},
            {"sub": "a\nb", "exp": 2**40},
            {"sub": "x" * 65, "exp": 2**40},
            {"sub": 7, "exp": 2**40},
            {"sub": ["bob"], "exp": 2**40},
            {"sub": "bob", "exp": "tomorrow"},
            {"sub": "bob", "exp": True},
            {"sub": "bob", "exp": float("nan")},
            {"sub": "bob", "exp": None},
            {"sub": "bob", "exp": 2**40, "dev": 0},
            {"sub": "bob", "exp": 2**40, "dev": 65_536},
            {"sub": "bob", "exp": 2**40, "dev": True},
            {"sub": "bob", "exp": 2**40, "dev": "1"},
            {"sub": "bob", "exp": 2**40, "nbf": 2**39},
        ],
    )
    async def test_claims_that_do_not_fit_are_bad(self, claims: dict[str, Any]) -> None:
        assert (await refusal(LocalTokens(SECRET), local(claims))).code == "bad_token"

    async def test_a_far_end_is_clamped_to_what_the_wire_can_say(self) -> None:
        identity = await LocalTokens(SECRET)(local({"sub": "bob", "exp": 10**30}))
        assert 0 < identity.expires_ms < 2**63

    @given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True)))
    async def test_any_junk_is_a_bad_token_and_nothing_else(self, token: str) -> None:
        with pytest.raises(AuthError):
            await LocalTokens(SECRET)(token)

    async def test_a_token_that_nests_too_deep_is_bad(self) -> None:
        deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
        assert (await refusal(LocalTokens(SECRET), f"{deep}.{deep}.x")).code == "bad_token"
        payload = jwt.encode({"alg": "HS256"}, {"sub": "b"}, OctKey.import_key(SECRET))
        assert (await refusal(LocalTokens(SECRET), payload + "A" * 9000)).code == "bad_token"

    @pytest.mark.parametrize("user", ["", "x" * 65, "tab\t", "\ud800", "\x7f", "\x85"])
    def test_no_token_is_issued_for_a_name_that_cannot_be(self, user: str) -> None:
        with pytest.raises(ValueError, match="user's name"):
            LocalTokens(SECRET).issue(user, 1, HOUR_MS)

    @pytest.mark.parametrize("device", [0, -1, 65_536])
    def test_no_token_is_issued_for_a_device_that_cannot_be(self, device: int) -> None:
        with pytest.raises(ValueError, match="device"):
            LocalTokens(SECRET).issue("bob", device, HOUR_MS)

    @given(st.text(min_size=1, max_size=64))
    def test_a_name_is_good_if_it_is_short_printable_text(self, name: str) -> None:
        good = len(name.encode("utf-8", "surrogatepass")) <= 64
        good = good and not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name)
        try:
            assert check_user(name) == name
        except ValueError:
            assert not good
        else:
            assert good


class TestSecret:
    def test_it_is_made_once_readable_by_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "secret"
        secret = read_secret(path)
        assert len(secret) == 32
        assert path.stat().st_mode & 0o777 == 0o600
        assert read_secret(path) == secret
        assert [entry.name for entry in path.parent.iterdir()] == ["secret"]

    def test_processes_that_come_at_once_agree_on_one(self, tmp_path: Path) -> None:
        program = "import sys, pathlib, pyrouter.secret as s; print(s.read_secret(pathlib.Path(sys.argv[1])).hex())"
        command = [sys.executable, "-c", program, str(tmp_path / "d" / "secret")]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        secrets = {process.communicate()[0] for process in processes}
        assert [len(secret) for secret in secrets] == [65]
        assert [entry.name for entry in (tmp_path / "d").iterdir()] == ["secret"]

    def test_one_that_others_can_read_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        read_secret(path)
        path.chmod(0o644)
        with pytest.raises(ConfigError, match=f"mode 644.*chmod 600 {path}"):
            read_secret(path)

    @pytest.mark.parametrize("content", [b"", b"short", b"!" * 60, b"\xff" * 50])
    def test_one_that_is_not_ours_is_refused_without_being_shown(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "secret"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="does not hold a secret of ours") as caught:
            read_secret(path)
        assert not content or content.decode("latin-1") not in str(caught.value)

    def test_one_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret").mkdir(mode=0o700)
        with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
            read_secret(tmp_path / "secret")
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="cannot be used"):
            read_secret(tmp_path / "file" / "secret")


ED = OKPKey.generate_key("Ed25519")
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "RS256": RSAKey.generate_key(2048),
    "PS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "Ed25519": ED,
}


def issuer(key: RSAKey | ECKey | OKPKey = ED, **options: Any) -> IssuerTokens:
    return IssuerTokens(
        parse_keys(key.as_pem(private=False)), issuer="https://id.example", audience="pyrouter", **options
    )


def claims(**changed: Any) -> dict[str, Any]:
    return {"sub": "bob", "dev": 2, "exp": soon(), "iss": "https://id.example", "aud": "pyrouter", **changed}


class TestIssuer:
    @pytest.mark.parametrize("algorithm", KEYS)
    @pytest.mark.parametrize("form", ["pem", "jwk", "jwks"])
    async def test_a_token_of_the_issuer_is_good_whatever_form_its_key_has(
        self, tmp_path: Path, algorithm: str, form: str
    ) -> None:
        key = KEYS[algorithm]
        jwk = key.as_dict(private=False)
        forms = {
            "pem": key.as_pem(private=False),
            "jwk": json.dumps(jwk).encode(),
            "jwks": json.dumps({"keys": [{"kty": "new-kind"}, jwk]}).encode(),
        }
        (tmp_path / "key").write_bytes(forms[form])
        tokens = IssuerTokens.from_file(tmp_path / "key", issuer="https://id.example", audience="pyrouter")
        identity = await tokens(encoded(claims(aud=["other", "pyrouter"]), key, algorithm))
        assert identity[:2] == ("bob", 2)

    @pytest.mark.parametrize(
        "changed",
        [
            {"iss": "https://evil.example"},
            {"iss": None},
            {"aud": "somebody-else"},
            {"aud": ["x"]},
            {"aud": None},
            {"exp": None},
            {"sub": None},
        ],
    )
    async def test_another_issuer_audience_or_a_missing_claim_is_bad(self, changed: dict[str, Any]) -> None:
        kept = {key: value for key, value in claims(**changed).items() if value is not None}
        assert (await refusal(issuer(), encoded(kept, ED, "Ed25519"))).code == "bad_token"

    async def test_clocks_may_differ_by_the_leeway_and_no_more(self) -> None:
        token = encoded(claims(exp=int(time.time()) - 60), ED, "Ed25519")
        assert (await issuer(leeway_s=1000)(token)).user == "bob"
        assert (await refusal(issuer(leeway_s=5), token)).code == "token_expired"

    async def test_the_public_key_never_passes_for_a_shared_secret(self) -> None:
        rsa = KEYS["RS256"]
        public = rsa.as_pem(private=False)
        for secret in (public, public.strip()):
            header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
            payload = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=")
            mac = hmac.new(secret, header + b"." + payload, hashlib.sha256).digest()
            token = b".".join([header, payload, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
            assert (await refusal(issuer(rsa), token)).code == "bad_token"

    async def test_a_key_of_another_pair_is_bad(self) -> None:
        token = encoded(claims(), OKPKey.generate_key("Ed25519"), "Ed25519")
        assert (await refusal(issuer(), token)).code == "bad_token"

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": 3}', b"-----BEGIN X", b"{" * 9999]
    )
    def test_a_key_file_without_a_key_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(ConfigError, match=r"auth\.key_file: .*expected PEM, JWK or JWKS"):
            IssuerTokens.from_file(tmp_path / "key", issuer="i", audience="a")

    def test_a_shared_secret_as_key_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(json.dumps(OctKey.import_key(SECRET).as_dict(private=True)))
        with pytest.raises(ConfigError, match="only public keys"):
            IssuerTokens.from_file(tmp_path / "key", issuer="i", audience="a")

    def test_a_key_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            IssuerTokens.from_file(tmp_path / "key", issuer="i", audience="a")


class Published:
    """A key server whose keys change, and a clock."""

    def __init__(self, *keys: OKPKey) -> None:
        self.keys = list(keys)
        self.fetched = 0
        self.now = 0.0
        self.down = False
        self.tokens = IssuerTokens(
            None, issuer="https://id.example", audience="pyrouter", fetch=self.fetch, clock=lambda: self.now
        )

    async def fetch(self) -> bytes:
        self.fetched += 1
        if self.down:
            raise OSError("unreachable")
        return json.dumps(KeySet([*self.keys]).as_dict(private=False)).encode()


def named(kid: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


class TestPublishedKeys:
    async def test_they_are_fetched_once_and_anew_for_a_key_that_is_not_known(self) -> None:
        old, new = named("old"), named("new")
        published = Published(old)
        for _ in range(3):
            assert (await published.tokens(encoded(claims(), old, "Ed25519", kid="old"))).user == "bob"
        assert published.fetched == 1
        published.keys.append(new)
        published.now += 31
        assert (await published.tokens(encoded(claims(), new, "Ed25519", kid="new"))).user == "bob"
        assert published.fetched == 2

    async def test_junk_key_ids_cannot_hammer_the_issuer(self) -> None:
        published = Published(named("old"))
        for number in range(20):
            await refusal(published.tokens, encoded(claims(), named("x"), "Ed25519", kid=f"junk{number}"))
        assert published.fetched <= 2

    async def test_while_the_issuer_is_down_known_keys_go_on_working(self) -> None:
        old = named("old")
        published = Published(old)
        good = encoded(claims(), old, "Ed25519", kid="old")
        await published.tokens(good)
        published.down = True
        published.now += 60
        await refusal(published.tokens, encoded(claims(), named("x"), "Ed25519", kid="x"))
        assert published.fetched == 2
        assert (await published.tokens(good)).user == "bob"

    async def test_without_any_keys_a_token_is_refused_and_the_next_tries_again(self) -> None:
        old = named("old")
        published = Published(old)
        published.down = True
        good = encoded(claims(), old, "Ed25519", kid="old")
        assert "cannot be had" in str(await refusal(published.tokens, good))
        published.down = False
        published.now += 31
        assert (await published.tokens(good)).user == "bob"
