"""Two machines as far as one can play them: the same build must give the same bytes in both.

They differ in what a build can see of a machine but for its tools: paths, user, clock and time zone, language, umask,
the order of hashes and of files in a directory, the dates of its input, and how many threads and which kernels NumPy
multiplies matrices with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ZIG_CACHE = "ZIG_GLOBAL_CACHE_DIR"  # both have one: filling it takes longer than all builds
YEARS = 12
_SHORTEST_WORD = 8
_CLOCK = f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {{
  int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += {YEARS} * 31556952L + 12345;
  return result;
}}
time_t time(time_t *out) {{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {{
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}}
"""


@dataclass(frozen=True)
class World:
    """A machine: `here` is where commands run, with HOME and TMPDIR below it; `environment` is what else differs."""

    here: Path
    umask: int
    environment: dict[str, str]

    def run(self, code: str, *arguments: str) -> str:
        """What a Python program prints, which must succeed."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.here,
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def words(self) -> tuple[bytes, ...]:
        """What names this machine: nothing that is built may hold any of it. Short names may be anywhere by chance."""
        private = (self.environment[name] for name in ("HOME", "TMPDIR", "USER"))
        words = (str(self.here), str(ROOT), sys.prefix, *private, os.uname().nodename)
        return tuple(word.encode() for word in words if len(word) >= _SHORTEST_WORD)


def worlds(folder: Path, files: dict[str, bytes]) -> tuple[World, World]:
    """Two machines below `folder` that hold the same `files`."""
    clock = folder / "clock.so"
    zig = {_ZIG_CACHE: os.environ.get(_ZIG_CACHE, str(Path.home() / ".cache" / "zig"))}
    (folder / "clock.c").write_text(_CLOCK)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", folder / "clock.c", "-o", clock, "-ldl"], check=True)
    one = _world(
        folder / "one", files, 0o022, "ada.lovelace", {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", **zig}
    )
    preloaded = {"LD_PRELOAD": str(clock), "SOURCE_DATE_EPOCH": "1"}
    threads = {f"{library}_NUM_THREADS": "3" for library in ("OPENBLAS", "OMP", "TVM")}
    threads["OPENBLAS_CORETYPE"] = "Nehalem"
    other = {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", **zig, **threads, **preloaded}
    backwards = dict(reversed(files.items()))
    return one, _world(folder / "the other" / "größer", backwards, 0o077, "rumpelstiltskin", other)


def _world(here: Path, files: dict[str, bytes], umask: int, user: str, more: dict[str, str]) -> World:
    private = {"HOME": here / "house", "TMPDIR": here / "scratch", "XDG_CACHE_HOME": here / "house" / "cache"}
    for path in private.values():
        path.mkdir(parents=True)
    for age, (name, content) in enumerate(files.items(), 1):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(content)
        os.utime(here / name, (1e8 * age, 1e8 * age))
    places = {key: str(path) for key, path in private.items()}
    return World(here, umask, {**places, "USER": user, "LOGNAME": user, **more})


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by name."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def has_clock() -> bool:
    """Whether a clock can be put in front of the system's."""
    return sys.platform == "linux" and shutil.which("gcc") is not None
