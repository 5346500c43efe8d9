"""Loads of gRPC: any service by its URL, and predictions of a configured server."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.errors import OptionError, ServerStartError
from pytest_servebench.load.tls import Tls
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.grpc import GrpcRequest
from pytest_servebench.protocols.grpc_messages import open_inference_pb2 as oip
from pytest_servebench.servers.attached import any_server
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.command import Command
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing
from tests.conftest import RunBench
from tests.load.test_misbehaving import serving as serving_http
from tests.results import saved_cases
from tests.servers.grpc_services import failing, serving
from tests.servers.test_probe_grpc import echo, in_http1

pytestmark = pytest.mark.usefixtures("own_process")

ECHO, INFER = "/test.Echo/Say", "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
HEAD = """
import pytest
from pytest_servebench import BadResponseError, GrpcRequest, HttpRequest
URL = "grpc://127.0.0.1:{}"
CALLS = [GrpcRequest("/test.Echo/Say", text, (("x", "7"),)) for text in (b"one", b"two")]
"""


def test_any_method_and_a_check(run_bench: RunBench) -> None:
    with serving({ECHO: echo}) as port:
        result = run_bench(
            test=HEAD.format(port)
            + """
def test_right(poisson_load):
    def check(request, answer):
        assert answer.message == request.message
        assert (answer.metadata["asked"], answer.status) == ("7", 0)
    case = poisson_load(URL, requests=CALLS, check=check)
    assert case.result.summary.success_rate == 1

@pytest.mark.slo("success_rate>=99%")
def test_wrong(poisson_load):
    def check(request, answer):
        raise BadResponseError("not what I ordered")
    poisson_load(URL, requests=CALLS, check=check)
"""
        )
    result.assert_outcomes(passed=1, failed=1)
    right, wrong = saved_cases()
    assert right["server"]["base_url"] == f"grpc://127.0.0.1:{port}"
    assert right["answers_checked"] > 0
    assert set(wrong["failures"]) == {"bad_response: not what I ordered"}
    result.stdout.fnmatch_lines([f"*server at grpc://127.0.0.1:{port}, gRPC*"])


@pytest.mark.slow
def test_errors_are_told_with_what_to_do(run_bench: RunBench) -> None:
    with serving({ECHO: failing("PERMISSION_DENIED", "who are you?")}) as port:
        result = run_bench(
            test=HEAD.format(port)
            + """
def test_denied(poisson_load):
    poisson_load(URL, requests=CALLS)

def test_unknown(poisson_load):
    poisson_load(URL, requests=[GrpcRequest("/test.Echo/Shout")])
"""
        )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*broken: none of*PERMISSION_DENIED (7): who are you?*authorization*",
            "*broken: none of*UNIMPLEMENTED (12)*are service and method right?*",
        ]
    )
    assert all(case["summary"]["outcomes"]["error_status"] > 0 for case in saved_cases())


REFUSED = {
    "URL, requests=[HttpRequest('GET', '/')]": "*cannot be sent to grpc://*http://HOST:PORT*",
    "URL.replace('grpc', 'http'), requests=CALLS": "*cannot be sent to http://*grpc://HOST:PORT*",
    "URL, requests=[*CALLS, HttpRequest('GET', '/')]": "*item 2*a load has one transport*",
    "URL + '/test.Echo', requests=CALLS": "*a gRPC server's URL has no path*",
    "URL": "*needs requests to send*GrpcRequest(*",
}


def test_what_does_not_go_together(run_bench: RunBench) -> None:
    test = HEAD.format(1) + "\n".join(
        f"def test_{index}(poisson_load):\n    poisson_load({call})"
        for index, call in enumerate(REFUSED)
    )
    result = run_bench("--tb=line", test=test)
    result.assert_outcomes(failed=len(REFUSED))
    result.stdout.fnmatch_lines([f"*OptionError: {words}" for words in REFUSED.values()])


def sums(message: bytes, _: Any) -> bytes:
    """Answer with the sum of each row."""
    asked = oip.ModelInferRequest.FromString(message)
    rows = np.frombuffer(asked.raw_input_contents[0], "<f4").reshape(asked.inputs[0].shape)
    answer = oip.ModelInferResponse(raw_output_contents=[rows.sum(axis=1).tobytes()])
    answer.outputs.add(name="sum", datatype="FP32", shape=[len(rows), 1])
    return bytes(answer.SerializeToString())


@pytest.mark.slow
def test_predictions_of_a_configured_server(run_bench: RunBench, pytester: Any) -> None:
    with serving({INFER: sums}) as port:
        (pytester.path / "servebench.toml").write_text(
            f'[servers.adder]\nurl = "grpc://127.0.0.1:{port}"\nprotocol = "open-inference-grpc"\n'
        )
        result = run_bench("--servebench-servers=adder", "--servebench-rows=1,3")
    result.assert_outcomes(passed=2)
    assert [case["rows"] for case in saved_cases()] == [1, 3]


def model() -> ServedModel:
    inputs = np.array([[1.0, 2.0]], np.float32)
    return ServedModel("adder", {}, inputs, inputs.sum(axis=1, keepdims=True))


def attach(url: str, **settings: Any) -> Any:
    kind = Command("adder", "Adder", url=url, protocol="open-inference-grpc")
    given = ServerSettings(cpus=(0,), start_timeout=settings.get("start_timeout", 10.0))
    server = kind.start(model(), given, Path("/nonexistent"))
    check_mismatch(server)
    return server


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("UNIMPLEMENTED", ("gRPC port", "UNIMPLEMENTED")),
        ("NOT_FOUND", ("adder.model", "NOT_FOUND")),
        ("UNAUTHENTICATED", ("authorization", "UNAUTHENTICATED")),
        ("PERMISSION_DENIED", ("authorization",)),
    ],
)
def test_a_refusal_is_not_waited_for(code: str, facts: tuple[str, ...]) -> None:
    with serving({INFER: failing(code, "so it is")}) as port, pytest.raises(ServerStartError) as no:
        attach(f"grpc://127.0.0.1:{port}", start_timeout=60.0)
    assert all(fact in str(no.value) for fact in (*facts, "so it is", INFER))


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (partial(Command, "own", "Own", protocol="tensorflow-serving-grpc"), "protocol's input"),
        (partial(TensorFlowServing, transport="grpc"), "tensorflow_serving.input"),
    ],
)
def test_a_server_that_cannot_be_asked_for_the_name_of_the_input(kind: Any, option: str) -> None:
    with serving({}) as port, pytest.raises(ServerStartError) as no:
        kind(url=f"grpc://127.0.0.1:{port}").start(
            model(), ServerSettings(cpus=(0,), start_timeout=60.0), Path("/nonexistent")
        )
    assert all(f in str(no.value) for f in ("GetModelMetadata", "UNIMPLEMENTED", option))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN"])
def test_a_server_that_is_loading_is_waited_for(code: str) -> None:
    calls: list[float] = []

    def loading(message: bytes, context: Any) -> bytes:
        calls.append(time.monotonic())
        return failing(code)(message, context) if len(calls) < 3 else sums(message, context)

    with serving({INFER: loading}) as port:
        server = attach(f"grpc://127.0.0.1:{port}")
    assert (server.base_url, len(calls)) == (f"grpc://127.0.0.1:{port}", 3)


class Asked:
    """A server with a health service: in which order it was asked for what."""

    def __init__(self, *healths: bytes | str, loading: int = 0) -> None:
        self.order: list[str] = []
        self._healths = healths  # the last one holds
        self._loading = loading  # failed predictions

    def check(self, message: bytes, context: Any) -> bytes:
        assert message == b""  # for the server as a whole
        self.order.append("check")
        said = self._healths[min(self.order.count("check"), len(self._healths)) - 1]
        return failing(said)(message, context) if isinstance(said, str) else said

    def infer(self, message: bytes, context: Any) -> bytes:
        self.order.append("infer")
        loading = self.order.count("infer") <= self._loading
        return failing("UNAVAILABLE")(message, context) if loading else sums(message, context)

    def serving(self) -> Any:
        return serving({CHECK: self.check, INFER: self.infer})


def test_no_prediction_is_asked_for_before_the_server_is_serving() -> None:
    asked = Asked(NOT_SERVING, NOT_SERVING, SERVING, loading=1)
    with asked.serving() as port:
        attach(f"grpc://127.0.0.1:{port}")
    assert asked.order == ["check"] * 3 + ["infer"] * 2


@pytest.mark.parametrize(
    "said", ["UNIMPLEMENTED", "NOT_FOUND", "UNAUTHENTICATED", b"", b"\x08\x03"]
)
def test_what_is_no_word_of_health_is_left_to_the_prediction(said: bytes | str) -> None:
    asked = Asked(said, loading=1)
    with asked.serving() as port:
        attach(f"grpc://127.0.0.1:{port}")
    assert asked.order == ["check", "infer", "infer"]


def test_a_gateway_may_become_a_server_that_loads() -> None:
    asked = Asked("UNAVAILABLE", NOT_SERVING, SERVING, loading=1)
    with asked.serving() as port:
        attach(f"grpc://127.0.0.1:{port}")
    assert asked.order == ["check", "infer", "check", "check", "infer"]


def test_a_server_that_is_never_serving() -> None:
    asked = Asked(NOT_SERVING)
    facts = rf"{CHECK} with NOT_SERVING.*log.*status.*--servebench-start-timeout=0\.3"
    with asked.serving() as port:
        with pytest.raises(ServerStartError, match=facts):
            attach(f"grpc://127.0.0.1:{port}", start_timeout=0.3)
        settings = ServerSettings(cpus=(0,), start_timeout=0.3)
        own, alike = (any_server(f"grpc://127.0.0.1:{port}", settings) for _ in range(2))
        with pytest.raises(ServerStartError, match=facts):
            own.await_loaded(GrpcRequest(INFER), Tls())
        assert set(asked.order) == {"check"}
        asked.order.clear()
        alike.await_loaded(GrpcRequest(CHECK), Tls())  # that is what it wants to know
        assert asked.order == ["check"]


def test_another_port_or_address() -> None:
    with serving_http(in_http1) as port:
        with pytest.raises(ServerStartError, match=r"HTTP/1\.1.*http://"):
            attach(f"grpc://127.0.0.1:{port}", start_timeout=60.0)
        with pytest.raises(OptionError, match=r"adder\.url=http.*needs the URL grpc://"):
            attach(f"http://127.0.0.1:{port}")


def test_where_a_configured_server_is_asked_whether_it_is_ready() -> None:
    given: dict[str, Any] = {"protocol": "open-inference-grpc", "ready": "/ready"}
    with pytest.raises(ValueError, match=r"ready = '/ready' .*\{port2\}"):
        Command("a", "A", command=("a", "{port}"), **given)
    kind = Command("a", "A", command=("a", "{port}", "{port2}"), **given)
    assert kind._ready_port == 1
