"""Signed bundles: what a trusted key signed is run; unsigned, altered and foreign ones are refused in clear words."""

import json
import os
import stat
import sys

import edge_runtime
import pytest
from click.testing import CliRunner
from edge_runtime import BundleError, EngineError, InputError
from edge_runtime.cli import main as edge
from edge_runtime.signing import check_signature, public_key
from hypothesis import given
from hypothesis import strategies as st

from compress.cli import main as compress

pytest.importorskip("cryptography")


def run(*arguments, **more):
    return CliRunner().invoke(compress, [str(a) for a in arguments], **more)


@pytest.fixture
def keys(tmp_path):
    """Two key pairs, made as a user makes them: paths without the suffix."""
    for name in ("mine", "theirs"):
        assert run("bundle", "keygen", tmp_path / name).exit_code == 0
    return tmp_path / "mine", tmp_path / "theirs"


@pytest.fixture
def signed(bundle, keys):
    assert run("bundle", "sign", bundle, "--key", f"{keys[0]}.key").exit_code == 0
    return bundle


def trusted(folder, *names):
    return edge_runtime.load(folder, trusted_keys=[f"{n}.pub" for n in names])


def test_a_signed_bundle_runs_with_its_key_in_every_form(signed, keys):
    pem = (keys[0].parent / "mine.pub").read_text()
    raw = public_key(pem)

    for one in (f"{keys[0]}.pub", keys[0].parent / "mine.pub", pem, pem.encode(), raw, raw.hex(), raw.hex().upper()):
        assert edge_runtime.load(signed, trusted_keys=[one]).check().ok
    assert trusted(signed, keys[1], keys[0]).check().ok
    assert edge_runtime.load(signed, trusted_keys=raw.hex()).check().ok  # one key may stand without its list
    assert edge_runtime.load(signed).check().ok  # nobody asked for a signature


def test_an_unsigned_bundle_is_refused(bundle, keys):
    with pytest.raises(BundleError, match=r"signature\.json: the bundle is not signed(.|\n)*compress bundle sign"):
        trusted(bundle, keys[0])


def test_a_bundle_of_somebody_else_is_refused_and_both_keys_are_named(signed, keys):
    mine, theirs = (public_key(f"{k}.pub").hex()[:16] for k in keys)

    with pytest.raises(BundleError, match=f"signed with key {mine}, trusted are {theirs}"):
        trusted(signed, keys[1])


@pytest.mark.parametrize("position", [0, 100, -2])
def test_a_manifest_changed_by_one_byte_is_refused_before_it_is_read(signed, keys, position):
    data = bytearray((signed / "manifest.json").read_bytes())
    data[position] ^= 1
    (signed / "manifest.json").write_bytes(data)

    with pytest.raises(BundleError, match="the signature is not over this manifest"):
        trusted(signed, keys[0])


def test_a_changed_model_is_refused_by_the_checksum_that_was_signed(signed, keys):
    (signed / "model.onnx").write_bytes((signed / "model.onnx").read_bytes()[:-1] + b"x")

    with pytest.raises(BundleError, match="its checksum is not the manifest's"):
        trusted(signed, keys[0])
    with pytest.raises(EngineError, match="trusted_keys with verify=False"):
        edge_runtime.load(signed, trusted_keys=[f"{keys[0]}.pub"], verify=False)


def test_somebody_elses_name_on_a_signature_does_not_help(signed, keys):
    path = signed / "signature.json"
    doc = json.loads(path.read_text())
    path.write_text(json.dumps({**doc, "public_key": public_key(f"{keys[1]}.pub").hex()}))

    with pytest.raises(BundleError, match="the signature is not over this manifest"):
        trusted(signed, keys[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 9000, "not valid JSON"),
        ("[]", "a list is not an object"),
        ("{}", "format: missing; format_version: missing; public_key: missing; signature: missing"),
        ('{"format": "edge-bundle-signature", "format_version": 2, "public_key": "a", "signature": "b"}', "2 is not"),
        ("x" * 10_001, "10,001 bytes; at most 10,000 are allowed"),
    ],
    ids=["empty", "deep", "list", "object", "newer", "huge"],
)
def test_a_file_that_is_no_signature_is_refused(signed, keys, text, message):
    (signed / "signature.json").write_text(text)

    with pytest.raises(BundleError, match=message):
        trusted(signed, keys[0])


def test_a_link_is_no_signature(signed, keys, tmp_path):
    (signed / "signature.json").rename(tmp_path / "s.json")
    (signed / "signature.json").symlink_to(tmp_path / "s.json")

    with pytest.raises(BundleError, match="is a link"):
        trusted(signed, keys[0])


@given(body=st.binary(max_size=300))
def test_any_bytes_as_a_signature_give_a_bundle_error(tmp_path_factory, body):
    folder = tmp_path_factory.getbasetemp()
    (folder / "signature.json").write_bytes(body)

    with pytest.raises(BundleError):
        check_signature(folder, b"manifest", [bytes(32)])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nowhere.pub", r"nowhere\.pub: cannot be read: No such file"),
        ("z" * 64, "cannot be read"),
        (b"short", "cannot be read"),
        ("-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----", "no Ed25519 key|damaged"),
        ("-----BEGIN RSA PUBLIC KEY-----\nMAo=\n-----END RSA PUBLIC KEY-----", "no public key in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nMAo=\n-----END PRIVATE KEY-----", "a private key, which no device may hold"),
    ],
)
def test_what_is_no_public_key_is_the_callers_fault(signed, key, message):
    with pytest.raises(InputError, match=message):
        edge_runtime.load(signed, trusted_keys=[key])


def test_no_keys_at_all_trust_nothing(signed):
    with pytest.raises(InputError, match="trusted_keys is empty"):
        edge_runtime.load(signed, trusted_keys=[])


def test_without_the_cryptography_package_it_says_what_to_install(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)

    with pytest.raises(EngineError, match=r"pip install edge-runtime\[signing\]"):
        trusted(signed, keys[0])


# --- the commands ---


def test_a_private_key_is_its_owners_alone_and_nothing_is_overwritten(tmp_path, keys):
    private = keys[0].parent / "mine.key"
    before = private.read_bytes()
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600

    again = run("bundle", "keygen", keys[0])

    assert (again.exit_code, private.read_bytes()) == (2, before)
    assert "mine.key: there is a file of that name" in again.stderr
    third = run("bundle", "keygen", tmp_path / "third")
    secret = (tmp_path / "third.key").read_text().splitlines()[1]
    assert secret not in third.output + third.stderr
    assert run("bundle", "keygen", tmp_path / "no" / "where").exit_code == 2


def test_an_encrypted_key_asks_for_its_passphrase(bundle, tmp_path):
    assert run("bundle", "keygen", tmp_path / "k", "--encrypt", input="open\nopen\n").exit_code == 0
    assert b"ENCRYPTED" in (tmp_path / "k.key").read_bytes()

    wrong = run("bundle", "sign", bundle, "--key", tmp_path / "k.key", input="shut\n")
    right = run("bundle", "sign", bundle, "--key", tmp_path / "k.key", input="open\n")

    assert (wrong.exit_code, "its passphrase is wrong" in wrong.stderr) == (2, True)
    assert right.exit_code == 0
    assert trusted(bundle, tmp_path / "k").check().ok


@pytest.mark.parametrize(
    ("content", "message"), [("", "no private key"), ("x", "no private key"), (None, "cannot be read")]
)
def test_what_is_no_private_key_signs_nothing(bundle, tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.key").write_text(content)

    done = run("bundle", "sign", bundle, "--key", tmp_path / "x.key")

    assert (done.exit_code, message in done.stderr) == (2, True)
    assert not (bundle / "signature.json").exists()


def test_a_damaged_bundle_is_not_signed(bundle, keys):
    (bundle / "model.tflite").write_bytes(b"x")

    done = run("bundle", "sign", bundle, "--key", f"{keys[0]}.key")

    assert done.exit_code == 1
    assert "model.tflite: 1 bytes, but the manifest promises" in done.stderr


def test_verify_and_check_tell_whom_to_trust(signed, keys, capsys):
    good = run("bundle", "verify", signed, "--trusted-key", f"{keys[0]}.pub")
    bad = run("bundle", "verify", signed, "--trusted-key", f"{keys[1]}.pub")
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "signed by a trusted key, 3 files as signed" in good.output
    assert "signed with key" in bad.stderr
    assert run("bundle", "verify", signed, "--trusted-key", "nowhere").exit_code == 2

    assert edge(["check", str(signed), "--trusted-key", f"{keys[0]}.pub"]) == 0
    assert "3 checksums are right and signed by a trusted key" in capsys.readouterr().out
    assert edge(["check", str(signed), "--trusted-key", f"{keys[1]}.pub"]) == 1
    assert edge(["predict", str(signed), "x.npy", "--trusted-key", f"{keys[1]}.pub"]) == 1
    assert "signed with key" in capsys.readouterr().err
