"""Addresses, limits, messages and the words of a status, without a farm."""

from __future__ import annotations

import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dscompile.errors import ToolError, UsageError
from dscompile.farm import endings, wire
from dscompile.farm.address import Address, is_loopback, listen, parse_address
from dscompile.farm.candidate import Candidate, Measurement, Timing
from dscompile.farm.client import DeviceUsage, Usage
from dscompile.farm.limits import default_memory_bytes, resident_bytes
from dscompile.farm.scratch import scratch_directory
from dscompile.farm.status import FarmStatus, farm_status


def test_the_numbers_of_the_protocol_are_those_of_tvm():
    from tvm.rpc import base

    assert wire.RPC_MAGIC == base.RPC_MAGIC
    assert wire.TRACKER_MAGIC == base.RPC_TRACKER_MAGIC
    assert (wire.CODE_SUCCESS, wire.CODE_MISMATCH) == (base.RPC_CODE_SUCCESS, base.RPC_CODE_MISMATCH)
    for name in ("SUCCESS", "PING", "PUT", "REQUEST", "UPDATE_INFO", "SUMMARY", "GET_PENDING_MATCHKEYS"):
        assert getattr(wire, name) == getattr(base.TrackerCode, name)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9190", "127.0.0.1", 9190), ("[::1]:80", "::1", 80), ("my-board:1", "my-board", 1)],
)
def test_addresses_are_read_and_written(text: str, host: str, port: int):
    assert parse_address(text) == Address(host, port)
    assert str(Address(host, port)) == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":9190", "::1:9190", "a b:1", "host:port", "host:1234567"])
def test_what_is_no_address_is_said(text: str):
    with pytest.raises(UsageError, match=r"is no address\n  = help: write host:port, for example 127.0.0.1:9190"):
        parse_address(text)


@pytest.mark.parametrize("port", [0, 65536])
def test_ports_end_at_65535(port: int):
    with pytest.raises(UsageError, match="a port is a number from 1 to 65535"):
        parse_address(f"host:{port}")


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_loopback_is_recognized(host: str, expected: bool):
    assert is_loopback(host) is expected


def test_a_host_without_an_address_is_said():
    with pytest.raises(ToolError, match=r"there is no address 'no-such-host\.invalid'"):
        is_loopback("no-such-host.invalid")


def test_nothing_listens_beyond_loopback_unless_asked():
    with pytest.raises(UsageError, match=r"listening on 0\.0\.0\.0 lets other machines connect\n.*--insecure-listen"):
        listen("0.0.0.0", range(1), insecure=False)
    sock, address = listen("0.0.0.0", range(1), insecure=True)
    assert address.host == "0.0.0.0"
    sock.close()


def test_a_port_in_use_is_passed_over_or_said():
    first, address = listen("127.0.0.1", range(1), insecure=False)
    with first:
        with pytest.raises(ToolError, match=f"port {address.port} is in use"):
            listen("127.0.0.1", range(address.port, address.port + 1), insecure=False)
        second, other = listen("127.0.0.1", range(address.port, min(address.port + 50, 65536)), insecure=False)
        second.close()
        assert other.port > address.port


def test_an_address_of_another_machine_cannot_be_listened_on():
    with pytest.raises(ToolError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign requested address"):
        listen("192.0.2.1", range(1), insecure=True)


def test_a_timing_that_measures_nothing_is_refused():
    with pytest.raises(ValueError, match="measures nothing: number and repeat are at least 1"):
        Timing(number=0)
    with pytest.raises(ValueError, match="take number=1 and min_repeat_ms=0 with flush_bytes"):
        Timing(number=2, min_repeat_ms=0, flush_bytes=1)


def test_only_what_is_ok_has_a_best_time():
    assert Measurement("ok", (3.0, 2.0)).best_s == 2.0
    assert Measurement("wrong", (3.0, 2.0)).best_s == float("inf")
    assert Measurement("lost").best_s == float("inf")
    assert [Measurement(kind).is_verdict for kind in ("failed", "refused")] == [True, False]


def test_a_library_is_read_from_its_file(tmp_path: Path):
    (tmp_path / "x.so").write_bytes(b"code")
    assert Candidate("x", tmp_path / "x.so", b"").library_bytes() == b"code"


def test_endings_travel_in_the_message_of_an_exception():
    ending = endings.Ending("memory", "took  more\nthan it may")
    assert endings.decode(f"RPCError: Error caught from RPC call:\n{ending.encode()}\nStack") == (
        "memory",
        "took more than it may",
    )
    assert endings.decode("RPCError: something else") is None


def test_signals_are_named():
    assert endings.of_signal(signal.SIGBUS) == endings.Ending("crash", "crashed with SIGBUS")
    assert endings.of_signal(signal.SIGXCPU).kind == "hang"
    assert "ran out of memory, or somebody killed it" in endings.of_signal(signal.SIGKILL).text
    assert endings.of_signal(63).text == "crashed with signal 63"


def test_usage_is_a_share_of_all_devices():
    usage = Usage(10.0, (DeviceUsage("a", 20, 9.0), DeviceUsage("b", 10, 5.0)))
    assert (usage.busy_share, usage.candidates_per_s) == (0.7, 3.0)
    assert (Usage(0.0, ()).busy_share, Usage(0.0, ()).candidates_per_s) == (0.0, 0.0)


def test_memory_is_seen():
    assert default_memory_bytes() > 1 << 28
    assert resident_bytes() > 1 << 20
    assert resident_bytes(2**22 + 1) == 0  # no process


def test_scratch_directories_are_private_and_those_of_dead_devices_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned = tmp_path / "dscompile-device-abandoned"
    (abandoned / "session-1").mkdir(parents=True)
    (abandoned / "lock").touch()
    (tmp_path / "dscompile-device-link").symlink_to(tmp_path)
    with scratch_directory() as first:
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
        assert not abandoned.exists()
        assert (tmp_path / "dscompile-device-link").is_symlink()
        with scratch_directory() as second:
            assert first.exists()
        assert not second.exists()
    assert not first.exists()


def test_a_scratch_directory_needs_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(ToolError, match=r"cannot make a directory in .*: No such file"), scratch_directory():
        pass


@contextmanager
def tracker_that_answers(*answers: bytes, greeting: int = wire.TRACKER_MAGIC) -> Iterator[Address]:
    """Something that takes connections, greets, and gives one of these answers to each."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4)
                connection.sendall(greeting.to_bytes(4, "little", signed=True))
                if connection.recv(1000):
                    connection.sendall(answer)
                    connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield Address("127.0.0.1", listener.getsockname()[1])
    listener.close()


def message(text: str, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(4, "little", signed=True) + text.encode()


def status_of(summary: str) -> FarmStatus:
    with tracker_that_answers(message(f"[0, {summary}]")) as tracker:
        return farm_status(tracker)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (message("", 2**31 - 1), r"no tracker answers at .*: the tracker announces a message of 2147483647 B"),
        (message("", -7), r"no tracker answers at .*: the tracker announces a message of -7 B"),
        (message("{"), r"no tracker answers at .*: the tracker's answer is no JSON"),
        (message("[0]"), r"the answer of the tracker at .* is not understood: \[0\]"),
        (message("[0, {}]"), r"the answer of the tracker at .* is not understood: 'server_info'"),
        (message('[0, {"server_info": 5, "queue_info": {}}]'), "its devices are no list"),
        (message('[0, {"server_info": [], "queue_info": 5}]'), "its queues are no table"),
        (message('[0, {"server_info": [{"key": "a", "addr": 5}], "queue_info": {}}]'), "5 is no address"),
        (message("[0", 100)[:6], r"no tracker answers at .*"),
    ],
    ids=range(9),
)
def test_a_tracker_that_talks_nonsense_is_said(answer: bytes, complaint: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dscompile.farm.status._ANSWER_S", 0.5)
    with tracker_that_answers(answer) as tracker, pytest.raises(ToolError, match=complaint):
        farm_status(tracker)


def test_what_is_no_tracker_is_said():
    with tracker_that_answers(b"", greeting=7) as place, pytest.raises(ToolError, match="is no TVM tracker"):
        farm_status(place)


def test_a_tracker_that_refuses_a_message_is_said():
    with (
        tracker_that_answers(message("-1")) as place,
        wire.TrackerConnection(place, 2) as tracker,
        pytest.raises(wire.ProtocolError, match="the tracker refused a message"),
    ):
        tracker.command([wire.PING], 2)


def test_a_peer_that_is_silent_or_closes_ends_the_wait():
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(TimeoutError):
            wire.receive(one, 1, wire.deadline(0.01))
        with pytest.raises(TimeoutError, match="the peer does not answer in time"):
            wire.receive(one, 1, wire.deadline(-1))
        other.close()
        with pytest.raises(ConnectionResetError, match="the peer closed the connection"):
            wire.receive(one, 1, wire.deadline(1))


def test_a_farm_without_devices_says_how_to_start_one():
    status = status_of('{"server_info": [], "queue_info": {}}')
    assert status.problems == (
        "no device has joined: start one with 'dscompile farm device --tracker HOST:PORT --key KEY'",
    )


def test_requests_for_a_key_that_no_device_has_are_said_with_the_nearest_key():
    with socket.create_server(("127.0.0.1", 0)) as device:
        port = device.getsockname()[1]
        info = (
            f'[{{"key": "server:rpi4", "addr": ["127.0.0.1", {port}], "busy_s": null, "silent_s": 1, "limit_s": 60}}]'
        )
        queues = (
            '{"rpi4": {"free": 1, "pending": 0}, "rpi44": {"free": 0, "pending": 2}, "zz": {"free": 0, "pending": 1}}'
        )
        status = status_of(f'{{"server_info": {info}, "queue_info": {queues}}}')
    assert [(queue.key, queue.devices, queue.free, queue.pending) for queue in status.queues] == [
        ("rpi4", 1, 1, 0),
        ("rpi44", 0, 0, 2),
        ("zz", 0, 0, 1),
    ]
    assert status.problems == (
        "key 'rpi44': 2 requests wait, and no device of that key is alive; did you mean 'rpi4'?",
        "key 'zz': 1 request waits, and no device of that key is alive; start one with --key zz",
    )


def test_devices_that_hang_are_silent_or_are_dead_are_said():
    with socket.create_server(("127.0.0.1", 0)) as device, socket.create_server(("127.0.0.1", 0)) as gone:
        port, dead = device.getsockname()[1], gone.getsockname()[1]
        gone.close()
        infos = ", ".join(
            f'{{"key": "server:{key}", "addr": ["127.0.0.1", {place}], '
            f'"busy_s": {busy}, "silent_s": {silent}, "limit_s": 60}}'
            for key, place, busy, silent in (
                ("busy", port, 400, 3),
                ("calm", port, "null", 95),
                ("dead", dead, "null", 1),
            )
        )
        status = status_of(f'{{"server_info": [{infos}], "queue_info": {{"busy": {{"free": 0, "pending": 3}}}}}}')
    assert [device.state for device in status.devices] == ["busy", "free", "dead"]
    assert status.problems == (
        f"device 127.0.0.1:{port} ('busy') has been busy for 400 s, though no session may last longer than 60 s: "
        "it hangs; restart it",
        f"device 127.0.0.1:{port} ('calm') has said nothing for 95 s: it is frozen, or its network is gone",
        f"device 127.0.0.1:{dead} ('dead') is dead: the tracker knows it, but nobody listens there; restart it, or its "
        "ssh tunnel",
        "key 'busy': 3 requests wait, and every device of it (1) has been busy for more than 5 min: look at the "
        "logs, and restart what hangs",
    )
