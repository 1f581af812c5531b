"""Downloads: whole, broken off, resumed, redirected, refused. The server is a real one on loopback."""

import pytest
from edge_runtime.errors import BundleError, StoreError
from edge_runtime.store.sources import open_source, read_token

from tests.edge_runtime.engines_here import FORM


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("edge_runtime.store.sources._PAUSE_S", 0.0)


def test_a_bundle_comes_from_a_web_server(store, bundles, site):
    bundles("v1")

    version = store.update(f"{site.url}/v1", token="s3cret").version

    assert store.open().version == version
    assert {h.get("Authorization") for _, h in site.requests} == {"Bearer s3cret"}
    assert store.update(f"{site.url}/v1/manifest.json").changed is False


def test_only_what_is_new_is_downloaded(store, bundles, site):
    bundles("v1"), bundles("v2")
    store.update(f"{site.url}/v1")
    site.requests.clear()

    store.update(f"{site.url}/v2/")

    assert f"/v2/model.{FORM}" in {path for path, _ in site.requests}
    same = (site.root / "v1" / "reference.npz").read_bytes() == (site.root / "v2" / "reference.npz").read_bytes()
    assert ("/v2/reference.npz" in {path for path, _ in site.requests}) is not same


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(store, bundles, site, ranges):
    bundles("v1")
    site.drop_after, site.ranges = 100, ranges

    assert store.update(f"{site.url}/v1").changed

    asked = [h.get("Range") for path, h in site.requests if path.endswith("reference.npz")]
    assert asked == [None, "bytes=100-"]


def test_an_update_that_was_killed_resumes_its_files(store, bundles, site):
    folder = bundles("v1")
    from edge_runtime.store.install import read_source

    version = read_source(open_source(folder))[2]
    part = store.folder / "incoming" / version
    part.mkdir()
    (part / "reference.npz").write_bytes((folder / "reference.npz").read_bytes()[:50])
    (part / f"model.{FORM}").write_bytes(b"wrong bytes of an earlier day")

    store.update(f"{site.url}/v1")

    asked = {path: h.get("Range") for path, h in site.requests}
    assert asked["/v1/reference.npz"] == "bytes=50-"
    assert (store.path(version) / f"model.{FORM}").read_bytes() == (folder / f"model.{FORM}").read_bytes()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 403}, r"the server answered 403 Forbidden\n  fix: check the token"),
        ({"status": 503}, "the server answered 503"),
        ({"extra": b"more"}, "reference.npz|not valid JSON"),
        ({"redirect": "file:///etc/passwd"}, "Redirection to url .* is not allowed"),
        ({"redirect": "ftp://127.0.0.1/x"}, "redirects from http to ftp"),
    ],
)
def test_what_a_server_does_wrong_is_said(store, bundles, site, fault, message):
    bundles("v1")
    vars(site).update(fault)

    with pytest.raises((StoreError, BundleError), match=message):
        store.update(f"{site.url}/v1")
    assert store.state().current is None


def test_a_passing_fault_is_tried_again(store, bundles, site):
    bundles("v1")
    answers = iter([503, 429, 500])
    real = site.answer
    site.answer = lambda request: (setattr(site, "status", next(answers, None)), real(request))

    assert store.update(f"{site.url}/v1").changed


def test_there_is_nothing_there(store, site):
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        store.update(f"{site.url}/none")
    with pytest.raises(BundleError, match="no such folder"):
        store.update(site.root / "none")
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(StoreError, match=r"the download failed: .*refused.*\n  fix: .*goes on where it stopped"):
        store.update(f"{site.url}/v1")


def test_a_bundle_that_changed_on_the_way_is_refused(store, bundles, site):
    model = bundles("v1") / f"model.{FORM}"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")

    with pytest.raises(BundleError, match=rf"model\.{FORM}: its checksum is not the manifest's"):
        store.update(f"{site.url}/v1")
    with pytest.raises(BundleError, match=rf"model\.{FORM}: its checksum is not the manifest's"):
        store.update(site.root / "v1")


def test_a_bundle_over_the_size_limit_is_not_downloaded(store, bundles, site):
    bundles("v1")

    with pytest.raises(StoreError, match="the limit is 100"):
        store.update(f"{site.url}/v1", max_size_bytes=100)
    assert [path for path, _ in site.requests] == ["/v1/manifest.json"]


def test_links_in_a_local_bundle_are_refused(store, bundles, tmp_path):
    folder = bundles("v1")
    (tmp_path / "elsewhere").write_bytes((folder / f"model.{FORM}").read_bytes())
    (folder / f"model.{FORM}").unlink()
    (folder / f"model.{FORM}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BundleError, match="is a link"):
        store.update(folder)


@pytest.mark.parametrize(
    "address", ["ftp://host/bundle", "http://", "https://host/b?key=1", "http://[::1", "javascript://x"]
)
def test_addresses_that_are_none_are_refused(address):
    with pytest.raises(StoreError, match="not one of a bundle"):
        open_source(address)


def test_a_password_in_the_address_is_refused_without_showing_it():
    with pytest.raises(StoreError, match="ends up in logs") as caught:
        open_source("https://user:hunter2@host/bundle")
    assert "hunter2" not in str(caught.value)


def test_a_token_goes_to_no_other_host(bundles, site, other_site):
    bundles("v1")
    site.redirect = f"{other_site.url}/v1/manifest.json"

    assert open_source(f"{site.url}/v1", token="s3cret").small("manifest.json", 10_000)

    assert site.requests[0][1]["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in other_site.requests[0][1]


def test_a_token_file_holds_one_token(tmp_path):
    path = tmp_path / "token"
    path.write_text("abc\n")
    assert read_token(path) == "abc"
    for content in ("", "two words", "two\nlines", "\x07"):
        path.write_text(content)
        with pytest.raises(StoreError, match="no token, or more than one line"):
            read_token(path)
    with pytest.raises(StoreError, match="no token can be read"):
        read_token(tmp_path / "none")


def test_an_unsigned_bundle_is_refused_before_its_files_are_fetched(store, bundles, site, tmp_path):
    from compress.export.signing import make_keys, sign_bundle

    folder = bundles("v1")
    private, public, _ = make_keys(tmp_path / "maker")
    other = make_keys(tmp_path / "other")[1]

    with pytest.raises(BundleError, match=r"signature\.json"):
        store.update(f"{site.url}/v1", trusted_keys=[public])
    assert f"/v1/model.{FORM}" not in {path for path, _ in site.requests}

    version = store.update(f"{site.url}/v1").version  # without keys anything goes; signed later, it is trusted later
    sign_bundle(folder, private)
    with pytest.raises(BundleError, match="signed"):
        store.update(f"{site.url}/v1", trusted_keys=[other])
    assert store.update(f"{site.url}/v1", trusted_keys=[public]).version == version
    assert store.open(trusted_keys=[public]).version == version
    with pytest.raises(StoreError, match="no version can be loaded"):
        store.open(trusted_keys=[other])
