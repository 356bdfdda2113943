"""What goes wrong around the candidates: devices and trackers that die, peers that send anything, full disks."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from dscompile.farm import wire
from dscompile.farm.address import Address
from dscompile.farm.candidate import Candidate, Measurement, Timing
from dscompile.farm.client import FarmDevices
from dscompile.farm.status import farm_status
from tests.farm.candidates import Candidates
from tests.farm.conftest import Farm
from tests.farm.servers import Server, joined, start_device, start_tracker, wait_until

pytestmark = pytest.mark.slow

SLOW = Timing(number=2, repeat=2, min_repeat_ms=0)  # 20 ms a call: 120 ms a candidate


def devices_of(
    directory: Path, tracker: Server, number: int, key: str = "x86"
) -> AbstractContextManager[tuple[Server, ...]]:
    return joined(*(start_device(directory / f"device{n}", tracker.address, key=key) for n in range(number)))


def batch(candidates: Candidates, size: int) -> list[Candidate]:
    return [Candidate(f"c{n}", candidates["slow"], bytes([n]), SLOW) for n in range(size)]


def all_measured(results: dict[Candidate, Measurement], size: int) -> bool:
    return len(results) == size and all(result.ok for result in results.values())


def test_a_device_that_is_killed_loses_nothing(tmp_path: Path, candidates: Candidates):
    with (
        start_tracker(tmp_path / "tracker") as tracker,
        devices_of(tmp_path, tracker, 2) as (one, two),
        FarmDevices(tracker.address, "x86") as devices,
    ):
        results = {}
        for candidate, result in devices.measure(batch(candidates, 32)):
            results[candidate] = result
            if len(results) == 8:
                one.kill()
        assert all_measured(results, 32), results
        assert sum(result.device == str(two.address) for result in results.values()) > 16
        wait_until(lambda: [device.state for device in farm_status(tracker.address).devices] == ["free"])

        # What it has left behind, the next device removes.
        assert list(one.temporary.iterdir())
        with joined(start_device(tmp_path / "three", tracker.address, temporary=one.temporary)) as (three,):
            assert len(list(one.temporary.iterdir())) == 1
            assert three.end() == 130
            assert list(one.temporary.iterdir()) == []


def test_a_tracker_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path, candidates: Candidates):
    tracker = start_tracker(tmp_path / "tracker")
    with (
        devices_of(tmp_path, tracker, 2) as (one, two),
        FarmDevices(tracker.address, "x86") as devices,
    ):
        results = {}
        for candidate, result in devices.measure(batch(candidates, 32)):
            results[candidate] = result
            if len(results) == 8:
                tracker.kill()
                time.sleep(3)
                tracker = start_tracker(tmp_path / "again", tracker.address.port)
        assert all_measured(results, 32), results
        one.wait_for("joined the tracker", 2)
        two.wait_for("joined the tracker", 2)
        assert "does not answer" in one.log
    tracker.__exit__()


def test_without_a_tracker_or_a_device_a_candidate_is_lost_in_bounded_time(tmp_path: Path, candidates: Candidates):
    candidate = batch(candidates, 1)[0]
    with (
        start_tracker(tmp_path / "tracker") as tracker,
        FarmDevices(tracker.address, "rpi4", patience_s=2.0) as devices,
    ):
        result = devices.run_on_device(candidate)
        assert (result.kind, result.is_verdict, result.device) == ("lost", False, "")
        assert result.error.startswith("no device of key 'rpi4' was free for 2 s; 'dscompile farm status --tracker")
        tracker.kill()
        result = devices.run_on_device(candidate)
        assert result.kind == "lost"
        assert f"the tracker at {tracker.address} does not answer: Connection refused" in result.error


def test_a_candidate_that_takes_its_device_down_is_stopped_after_the_second(
    farm: Farm, tmp_path: Path, candidates: Candidates
):
    # Like one that makes a board restart: devices die under it, without a word.
    with (
        devices_of(tmp_path, farm.tracker, 3, "doomed") as (one, two, three),
        FarmDevices(farm.address, "doomed", patience_s=10.0) as devices,
    ):
        alive = [one, two, three]
        future = devices.submit(Candidate("bad", candidates["sleep"], b"x"))
        for _ in range(2):
            device = running_on(*alive)
            alive.remove(device)
            device.kill()
        result = future.result(timeout=30)
        assert result.kind == "crash"
        assert result.error.startswith("broke its session 2 times without a word, on 127.0.0.1:")
        assert devices.run_on_device(batch(candidates, 1)[0]).ok


def test_the_only_device_that_dies_under_a_candidate_leaves_it_lost(farm: Farm, tmp_path: Path, candidates: Candidates):
    with (
        devices_of(tmp_path, farm.tracker, 1, "only") as (one,),
        FarmDevices(farm.address, "only", patience_s=2.0) as devices,
    ):
        future = devices.submit(Candidate("it", candidates["sleep"], b"x"))
        running_on(one).kill()
        result = future.result(timeout=30)
        assert result.kind == "lost"
        assert f"before, its session broke on device {one.address}" in result.error


def test_a_device_that_freezes_does_not_hold_its_client(farm: Farm, tmp_path: Path, candidates: Candidates):
    with (
        devices_of(tmp_path, farm.tracker, 1, "frozen") as (one,),
        FarmDevices(farm.address, "frozen", session_s=1.0, patience_s=2.0) as devices,
    ):
        future = devices.submit(Candidate("it", candidates["sleep"], b"x"))
        running_on(one).process.send_signal(signal.SIGSTOP)
        result = future.result(timeout=30)
        one.process.send_signal(signal.SIGCONT)
        assert result.kind == "hang"
        assert result.error == f"took longer than 1 s, and device {one.address} did not end it"


def test_closing_the_client_ends_its_sessions_and_cancels_what_waits(farm: Farm, candidates: Candidates):
    with FarmDevices(farm.address, "x86", session_s=20.0) as devices:
        futures = [devices.submit(Candidate("endless", candidates["sleep"], b"x")) for _ in range(5)]
        for device in farm.devices:
            running_on(device)
        began = time.monotonic()
    wait_until(lambda: _busy(farm.address) == [])
    assert time.monotonic() - began < 15  # the devices do not wait for the end of the 20 s
    for device in farm.devices:
        device.wait_for("candidate endless.so: ended because the client had gone after")
    assert [future.cancelled() for future in futures] == [False, False, True, True, True]
    assert {future.result().kind for future in futures[:2]} == {"lost"}
    with pytest.raises(RuntimeError, match="the farm is closed"):
        devices.submit(Candidate("it", candidates["good"], b"x"))


def running_on(*devices: Server) -> Server:
    """The device that a candidate has come to, of those that are alive."""

    def with_library() -> list[Server]:
        return [device for device in devices if list(device.temporary.glob("dscompile-device-*/session-*/*.so"))]

    wait_until(lambda: bool(with_library()))
    time.sleep(0.2)  # it is stored; now it is called
    return with_library()[0]


def _busy(tracker: Address) -> list[str]:
    return [str(device.address) for device in farm_status(tracker).devices if device.state == "busy"]


MAGIC, TRACKER_MAGIC = struct.pack("<i", wire.RPC_MAGIC), struct.pack("<i", wire.TRACKER_MAGIC)


def message(text: bytes | str) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<i", len(data)) + data


BAD = {
    "nothing": b"",
    "half a number": b"\x71",
    "garbage": bytes(range(256)) * 40,
    "the other's greeting": TRACKER_MAGIC + MAGIC,
    "a greeting and a huge length": MAGIC + struct.pack("<i", 2**31 - 1) + b"x" * 100,
    "a greeting and a negative length": MAGIC + struct.pack("<i", -1),
    "a key that is no text": MAGIC + message(b"\xff\xfe\xfd"),
    "an empty key": MAGIC + message(b" "),
    "a wrong key": MAGIC + message("client:x86:0.5 -timeout=nan"),
    "to the tracker, a huge length": TRACKER_MAGIC + struct.pack("<i", 2**31 - 1) + b"[" * 5000,
    "to the tracker, a negative length": TRACKER_MAGIC + struct.pack("<i", -5),
    "to the tracker, half a message": TRACKER_MAGIC + message("[6]")[:-1],
    "to the tracker, no text": TRACKER_MAGIC + message(b"\xff\xff\xff"),
    "to the tracker, no JSON": TRACKER_MAGIC + message("{"),
    "to the tracker, deep JSON": TRACKER_MAGIC + message("[" * 100000),
    "to the tracker, no list": TRACKER_MAGIC + message('{"a": 1}'),
    "to the tracker, an empty list": TRACKER_MAGIC + message("[]"),
    "to the tracker, stop": TRACKER_MAGIC + message("[2, null]"),
    "to the tracker, an offer of wrong types": TRACKER_MAGIC + message('[3, 5, ["a", 7]]'),
    "to the tracker, an offer of another key": TRACKER_MAGIC + message('[3, "x86", [9, "rpi:1"]]'),
    "to the tracker, a request without a key": TRACKER_MAGIC + message("[4]"),
    "to the tracker, a key that is a number": TRACKER_MAGIC + message('[5, {"key": 5, "addr": [null, 1]}]'),
    "to the tracker, no address": TRACKER_MAGIC + message('[5, {"key": "server:x86"}]'),
    "to the tracker, an unknown code": TRACKER_MAGIC + message("[77, 1, 2]"),
}


@pytest.mark.parametrize("what", BAD)
def test_tracker_and_devices_live_on_whatever_a_peer_sends(farm: Farm, candidates: Candidates, what: str):
    peers = []
    for server in (farm.tracker, *farm.devices):
        peer = socket.create_connection((server.address.host, server.address.port))
        peer.sendall(BAD[what])
        peers.append(peer)
    # They stay connected while others work.
    assert farm.client.run_on_device(Candidate("it", candidates["good"], b"x")).ok
    status = farm_status(farm.address)
    assert [device.key for device in status.devices] == ["x86", "x86"]
    assert status.problems == ()
    for peer in peers:
        peer.close()


def test_tracker_and_devices_live_on_after_random_garbage(farm: Farm, candidates: Candidates):
    for seed in range(30):
        rng = random.Random(seed)
        length = struct.pack("<i", rng.choice((rng.randrange(-(2**31), 2**31), rng.randrange(64))))
        data = rng.choice((b"", MAGIC, TRACKER_MAGIC)) + rng.choice((b"", length)) + rng.randbytes(rng.randrange(200))
        for server in (farm.tracker, *farm.devices):
            with socket.create_connection((server.address.host, server.address.port)) as peer, suppress(OSError):
                peer.sendall(data)
    assert farm.client.run_on_device(Candidate("it", candidates["good"], b"x")).ok
    assert farm_status(farm.address).problems == ()


def test_what_devices_keep_is_for_their_user_alone(farm: Farm, candidates: Candidates):
    future = farm.client.submit(Candidate("it", candidates["sleep"], b"x"))
    device = running_on(*farm.devices)
    (directory,) = device.temporary.glob("dscompile-device-*")
    (session,) = directory.glob("session-*")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, session, directory / "lock")]
    assert modes == [0o700, 0o700, 0o600]
    assert future.result(timeout=60).kind == "hang"


def test_a_greeting_may_come_in_pieces(farm: Farm):
    with socket.create_connection((farm.address.host, farm.address.port)) as peer:
        for piece in (
            TRACKER_MAGIC[:1],
            TRACKER_MAGIC[1:3],
            TRACKER_MAGIC[3:] + message("[1]")[:2],
            message("[1]")[2:],
        ):
            peer.sendall(piece)
            time.sleep(0.05)
        assert wire.receive(peer, 9, wire.deadline(5)) == TRACKER_MAGIC + message("0")


def test_a_peer_that_does_not_read_its_answers_is_sent_away(farm: Farm):
    with socket.create_connection((farm.address.host, farm.address.port)) as peer:
        peer.settimeout(60)
        peer.sendall(TRACKER_MAGIC)
        with pytest.raises(OSError, match=r"reset|pipe"):
            peer.sendall(message("[6]") * 2_000_000)
    farm.tracker.wait_for("away: it does not read its answers")


def impatient(module: str, name: str) -> list[str]:
    """The command with a time of a module of the farm set to one second."""
    return [
        sys.executable,
        "-c",
        f"from dscompile.farm import {module}; {module}.{name} = 1.0; from dscompile.cli.main import run; run()",
    ]


def test_the_tracker_says_why_it_sends_a_peer_away(farm: Farm, tmp_path: Path):
    for data, why in (
        (b"GET / HTTP/1.1", "it does not speak TVM's tracker protocol"),
        (TRACKER_MAGIC + message(b"\xff"), "its message is no text"),
        (TRACKER_MAGIC + message("5"), "its message is no list that begins with a number"),
        (TRACKER_MAGIC + message("[2, null]"), "it sent code 2, which this tracker does not take"),
        (TRACKER_MAGIC + message("[4]"), "its message of code 4 is incomplete or of wrong types"),
    ):
        with socket.create_connection((farm.address.host, farm.address.port)) as peer:
            peer.sendall(data)
            farm.tracker.wait_for(f"away: {why}")
    with (
        Server(tmp_path / "impatient", "tracker", "--port", 0, command=impatient("tracker", "_HANDSHAKE_S")) as tracker,
        socket.create_connection((tracker.address.host, tracker.address.port)),
    ):
        tracker.wait_for("away: it said nothing")


def test_a_client_that_sends_an_impossible_message_ends_its_own_session_only(farm: Farm, candidates: Candidates):
    with wire.TrackerConnection(farm.address, 5) as tracker:
        answer = tracker.ask([wire.REQUEST, "x86", "", 1], 10)
    assert isinstance(answer, list)
    host, port, match_key = answer[1]
    with socket.create_connection((host, port)) as peer:
        peer.sendall(MAGIC + message(f"client:{match_key}") + struct.pack("<Q", 2**60) + b"x" * 100)
        device = next(device for device in farm.devices if device.address.port == port)
        device.wait_for("took more than its memory limit, or its client sent a message of impossible size")
    assert farm.client.run_on_device(Candidate("it", candidates["good"], b"x")).ok


def test_a_device_that_was_given_away_and_not_used_is_offered_again(farm: Farm, tmp_path: Path):
    options = ("device", "--tracker", farm.address, "--key", "unused", "--port", 0)
    with joined(Server(tmp_path / "one", *options, command=impatient("device", "_UNUSED_S"))) as (device,):
        with wire.TrackerConnection(farm.address, 5) as tracker:
            answer = tracker.ask([wire.REQUEST, "unused", "", 1], 10)
        assert isinstance(answer, list)
        assert device.address.port == answer[1][1]
        device.wait_for("did not come: offering it again")
        wait_until(lambda: _busy(farm.address) == [])


@contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """A file system of 64 KiB at `place`; the test is skipped by name where none may be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_the_device_lives_on(farm: Farm, tmp_path: Path, candidates: Candidates):
    with (
        full_disk(tmp_path / "small") as small,
        joined(start_device(tmp_path / "one", farm.address, key="full", temporary=small)) as (one,),
        FarmDevices(farm.address, "full") as devices,
    ):
        big = Candidate("big", candidates["good"].read_bytes() + bytes(1 << 20), b"x")
        result = devices.run_on_device(big)
        assert (result.kind, result.is_verdict) == ("refused", False)
        assert result.error.startswith("the device cannot store 'big.so', ")
        assert result.error.endswith("B: No space left on device")
        one.wait_for("the device cannot store 'big.so', ")
        assert devices.run_on_device(Candidate("small", candidates["good"], b"x")).ok

        # Not even a directory for the session.
        (directory,) = small.glob("dscompile-device-*")
        wait_until(lambda: len(list(directory.iterdir())) == 1)
        for number in count():
            try:
                (directory / f"file{number}").touch()
            except OSError:
                break
        result = devices.run_on_device(Candidate("small", candidates["good"], b"x"))
        assert result.kind == "refused", result
        assert "No space left on device" in result.error
        for path in directory.glob("file*"):
            path.unlink()
        assert devices.run_on_device(Candidate("small", candidates["good"], b"x")).ok
        assert one.is_alive


def test_servers_listen_on_loopback_alone(farm: Farm):
    for server in (farm.tracker, *farm.devices):
        assert _listening(server) == {(f"{127 + (1 << 24):08X}", server.address.port)}


def _listening(server: Server) -> set[tuple[str, int]]:
    """Hexadecimal address and port of the TCP sockets on which a process and its children listen."""
    inodes = set()
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                host, port = fields[1].split(":")
                found.add((host, int(port, 16)))
    return found
