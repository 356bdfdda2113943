"""dscompile farm tracker | device | status."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from dscompile.farm.address import Address
from tests.cli.conftest import CommandLine
from tests.farm.servers import Server, joined, start_device, start_tracker


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "command", [("tracker",), ("device", "--tracker", "127.0.0.1:9190", "--key", "rpi4")], ids=("tracker", "device")
)
def test_other_addresses_than_loopback_need_a_flag(dscompile: CommandLine, command: tuple[str, ...]):
    outcome = dscompile("farm", *command, "--host", "0.0.0.0", "--port", 0)
    assert outcome.code == 2
    assert "listening on 0.0.0.0 lets other machines connect" in outcome.err
    assert "--insecure-listen" in outcome.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--tracker", "nowhere", "--key", "a"), "'nowhere' is no address"),
        (("--tracker", "127.0.0.1:9190", "--key", "rpi 4"), "'rpi 4' is no key"),
        (("--tracker", "127.0.0.1:9190"), "missing option '--key'"),
        (("--tracker", "127.0.0.1:9190", "--key", "a", "--time-limit", "0"), "0.0 is not in the range x>0"),
    ],
)
def test_a_wrong_device_is_a_usage_error(dscompile: CommandLine, options: tuple[str, ...], complaint: str):
    outcome = dscompile("farm", "device", *options)
    assert outcome.code == 2
    assert complaint in outcome.err


def test_status_of_no_tracker_says_what_to_do(dscompile: CommandLine):
    port = free_port()
    outcome = dscompile("farm", "status", "--tracker", f"127.0.0.1:{port}")
    assert outcome.code == 5
    assert f"no tracker answers at 127.0.0.1:{port}: Connection refused" in outcome.err
    assert "start one there with 'dscompile farm tracker'" in outcome.err
    record = json.loads(dscompile("farm", "status", "--tracker", f"127.0.0.1:{port}", "--json").out)
    assert record["error"]["code"] == 5


def test_a_tracker_without_tornado_says_what_to_install(dscompile: CommandLine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tornado.ioloop", None)
    monkeypatch.delitem(sys.modules, "dscompile.farm.tracker", raising=False)
    outcome = dscompile("farm", "tracker", "--port", 0)
    assert outcome.code == 5
    assert "the farm's tracker needs tornado" in outcome.err
    assert "pip install 'dscompile[tune]'" in outcome.err


def test_a_port_in_use_is_said(dscompile: CommandLine):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        outcome = dscompile("farm", "tracker", "--port", port)
    assert outcome.code == 5
    assert f"port {port} is in use" in outcome.err


@pytest.mark.slow
def test_status_shows_devices_and_requests(dscompile: CommandLine, tmp_path: Path):
    with (
        start_tracker(tmp_path / "tracker") as tracker,
        joined(start_device(tmp_path / "device", tracker.address)) as (device,),
    ):
        outcome = dscompile("farm", "status", "--tracker", tracker.address)
        assert outcome.code == 0, outcome
        assert re.search(rf"{device.address}  x86  free +\w+\n", outcome.out)
        record = json.loads(dscompile("farm", "status", "--tracker", tracker.address, "--json").out)
        assert record["schema"] == 1
        assert [(entry["address"], entry["state"]) for entry in record["devices"]] == [(str(device.address), "free")]
        assert record["keys"] == [{"key": "x86", "devices": 1, "free": 1, "pending": 0}]
        assert record["problems"] == []

        device.kill()
        outcome = dscompile("farm", "status", "--tracker", tracker.address)
        assert outcome.code == 1
        assert "problem: no device has joined: start one with" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_tracker_and_device_cleanly(tmp_path: Path, number: signal.Signals):
    with (
        start_tracker(tmp_path / "tracker") as tracker,
        joined(start_device(tmp_path / "device", tracker.address)) as (device,),
    ):
        for server in (device, tracker):
            assert server.end(number) == 130
            assert "Traceback" not in server.log
        assert list(device.temporary.iterdir()) == []


@pytest.mark.slow
def test_listening_beyond_loopback_comes_with_a_warning(tmp_path: Path):
    arguments = ("tracker", "--host", "0.0.0.0", "--port", 0, "--insecure-listen", "-q")
    with Server(tmp_path / "tracker", *arguments) as tracker:
        assert tracker.address.host == "0.0.0.0"
        assert "warning: TVM's RPC has no authentication and no encryption" in tracker.log
        assert f"whoever can connect to {tracker.address} runs native code" in tracker.log


@pytest.mark.slow
def test_a_device_that_only_this_machine_reaches_says_so_to_a_distant_tracker(tmp_path: Path):
    with Server(tmp_path / "device", "device", "--tracker", "192.0.2.1:9190", "--key", "a", "--port", 0) as device:
        device.wait_for(f"only this machine reaches {device.address}: clients on another one need an ssh tunnel")


@pytest.mark.slow
def test_a_device_waits_for_a_tracker_that_does_not_run_yet(tmp_path: Path):
    port = free_port()
    with start_device(tmp_path / "device", Address("127.0.0.1", port)) as device:
        device.wait_for(f"the tracker at 127.0.0.1:{port} does not answer (Connection refused): trying again every 2 s")
        with start_tracker(tmp_path / "tracker", port):
            device.wait_for(f"joined the tracker at 127.0.0.1:{port} as 'x86'")
