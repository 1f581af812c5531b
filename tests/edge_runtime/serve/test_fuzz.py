"""What schemathesis makes of the OpenAPI: every answer is one that is described, and none is a fault of ours."""

import edge_runtime
import pytest
from edge_runtime.serve.app import App
from edge_runtime.serve.service import OneBundle
from edge_runtime.serve.settings import Settings
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from tests.edge_runtime.engines_here import FORM

schemathesis = pytest.importorskip("schemathesis", reason="no wheel for this machine")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture
def schema(bundle):
    app = App(OneBundle(edge_runtime.load(bundle, engine=FORM)), Settings())
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False):
        yield schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "localhost"})


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda m: m.value)
def test_no_request_finds_an_answer_that_is_not_described(schema, mode):
    called = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # nothing in it that could be wrong

        @FEW
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            # A schema cannot say which bytes are a picture, so good data may be refused; all other checks hold.
            case.call_and_validate(headers={"Host": "localhost"}, excluded_checks=[checks.positive_data_acceptance])

        check()
        called.append(operation.path)

    assert {"/v1/predict", "/v1/predict_batch", "/v1/versions/switch"} <= set(called)
