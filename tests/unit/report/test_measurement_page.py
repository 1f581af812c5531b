import re

import pytest

from compress.report.pages.measurement import render


def model(p50=0.5, **changes):
    summary = {"p50_ms": p50, "p90_ms": 0.6, "p99_ms": None, "spread": 0.03, "single_stream_ms": 0.51, "cpu_ms": 0.5,
               "mlperf_tiny": True, "load_ms": 40.0, "first_ms": 1.0, "peak_memory_bytes": 64_000_000,
               "throughput_per_s": 2000.0}  # fmt: skip
    return {"file": "model.onnx", "precision": "int8", "size_bytes": 40_000, "engine": "onnxruntime 1.32.0",
            "threads": 1, "check": {"message": "passed: all of 16"}, "summary": summary,
            "throughput": {"batch": 32}, "operators": None,
            "energy": {"label": "none", "why": "no meter"}, **changes}  # fmt: skip


def device(label="measured", **changes):
    host = {"cpu": "Cortex-A76", "kernel": "6.6"}
    return {"label": label, "host": host, "models": {"onnx": model()}, "pairs": [], "events": [], "void": False,
            "cores": [3], "seconds": 60.0, **changes}  # fmt: skip


def page(**devices):
    return render({"bundle": "b<1>", "other": None, "started": "2026-11-23T16:00:00+00:00", "devices": devices,
                   "failures": {"pi9": "device pi9: it is\n asleep"}})  # fmt: skip


def cells(html, row):
    """The text of a row's cells, by the row's first one."""
    found = re.search(rf"<tr[^>]*><th[^>]*>{row}</th>(.*?)</tr>", html)
    return [re.sub(r"<[^>]+>", " ", c).strip() for c in re.findall(r"<td.*?</td>", found[1])]


def test_devices_stand_side_by_side_each_under_its_own_label():
    html = page(cpu=device(), pi5=device(models={"onnx": model(4.25)}))

    assert cells(html, "How it came about") == ["measured", "measured"]
    assert [c.split()[0] for c in cells(html, r"Latency, median \(p50\)")] == ["0.500", "4.25"]
    assert cells(html, "p99") == ["fewer than 1,000 runs"] * 2
    assert "MLPerf Tiny&#x27;s rule" in html or "MLPerf Tiny's rule" in html
    assert "b&lt;1&gt;" in html
    assert "device pi9: it is asleep" in html


@pytest.mark.parametrize("changes", [{"label": "emulated"}, {"void": True}], ids=["emulated", "void"])
def test_what_was_not_measured_shows_no_figure(changes):
    html = page(cpu=device(), toy=device(**changes, models={"onnx": model(777.0)}))

    assert "777" not in html
    for quantity in (r"Latency, median \(p50\)", "Peak memory", "Energy an inference"):
        assert cells(html, quantity)[1] == "–"
    assert cells(html, "Self-test there")[1] == "passed"
    assert cells(html, "How it came about")[1].split() == ["emulated"] if "label" in changes else ["none", "void"]


def test_energy_says_whether_it_was_measured_estimated_or_is_not_known():
    measured = {"label": "measured", "meter": {"kind": "RAPL", "scope": "package-0", "rate_hz": 10.0}, "net_mj": 0.81,
                "net_ci95": [0.7, 0.9], "total_mj": 1.5, "disturbance": {"ratio": 1.002}}  # fmt: skip
    estimated = {"label": "estimated", "low_mj": 0.5, "high_mj": 2.0, "assumption": "1 to 4 W a busy core"}

    html = page(a=device(models={"onnx": model(energy=measured)}), b=device(models={"onnx": model(energy=estimated)}),
                c=device())  # fmt: skip

    first, second, third = (" ".join(c.split()) for c in cells(html, "Energy an inference"))
    assert first.startswith("1.50 mJ measured 0.810 mJ of it above idle, 95 % 0.700 to 0.900 RAPL, package-0, 10 Hz")
    assert second == "0.500 to 2.00 mJ estimated 1 to 4 W a busy core"
    assert third == "none no meter"


def test_a_ratio_has_its_interval_and_its_verdict():
    pair = {
        "this": "onnx",
        "reference": "other",
        "ratio": 1.004,
        "ci95": [0.99, 1.02],
        "verdict": "no difference shown",
    }

    html = page(cpu=device(pairs=[pair]), hot=device(pairs=[{**pair, "ratio": 9.0}], void=True))

    assert "No difference shown" in html
    assert "0.990 to 1.020" in html
    assert "9.000" not in html


def test_operators_are_listed_by_what_they_cost():
    rows = [{"name": n, "op": "Conv", "arithmetic": "float", "provider": "CPU", "us": us, "share": us / 10}
            for n, us in (("small", 2.0), ("large", 8.0))]  # fmt: skip
    found = {"how": "a profiler", "rows": rows, "verdict": ["2 of 2 products run in float: small, large"]}

    html = page(cpu=device(models={"onnx": model(operators=found)}))

    assert html.index(">large<") < html.index(">small<")
    assert "2 of 2 products run in float" in html
