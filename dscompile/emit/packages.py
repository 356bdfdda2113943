"""Packagings of standalone C: thin manifests that make an artifact a library of some build system.

The sources stay where they are; only the layouts of Arduino and of CMSIS-Pack ask for copies.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from xml.sax.saxutils import escape

import jinja2

from dscompile.emit.interface import Interface
from dscompile.emit.render import environment
from dscompile.errors import Diagnostic, UsageError, did_you_mean
from dscompile.version import __version__

VENDOR = "dscompile"
URL = "https://github.com/dscompile/dscompile"
UNVERSIONED = "0.0.0"

_ARDUINO_NAME, _PLATFORMIO_NAME = 63, 50  # most characters of a library's name
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows: no clock in any output
# What CMake generates by itself; a network of this name gets another target. CMake's documentation of policy CMP0037.
_CMAKE_TARGETS = frozenset(
    (
        *("all", "all_build", "clean", "debug", "edit_cache", "general", "help", "install", "install_local", "none"),
        *("optimized", "package", "package_source", "preinstall", "rebuild_cache", "run_tests", "test", "zero_check"),
    )
)


@dataclass(frozen=True)
class About:
    """What a network says of itself: one line for people, X.Y.Z, an SPDX expression; empty where it does not say."""

    title: str = ""
    version: str = ""
    license: str = ""


@dataclass(frozen=True)
class Package:
    """What the manifests have in common. `files` are the header, `<net>.c` and `<net>_weights.c`, name -> text."""

    interface: Interface
    about: About
    target: str
    files: Mapping[str, str]

    @property
    def prefix(self) -> str:
        """The network's name in C."""
        return self.interface.prefix

    @property
    def macro(self) -> str:
        """The prefix of its macros."""
        return self.interface.macro

    @property
    def header(self) -> str:
        """File name of the header."""
        return self.interface.header

    @property
    def sources(self) -> tuple[str, ...]:
        """File names of the C files."""
        return tuple(name for name in self.files if name != self.header)

    @property
    def description(self) -> str:
        """One line for people."""
        return _one_line(self.about.title or f"neural network {self.interface.name}, C99 without a heap or an OS")

    @property
    def version(self) -> str:
        """X.Y.Z."""
        return self.about.version or UNVERSIONED

    @property
    def license(self) -> str:
        """An SPDX expression, or nothing."""
        return self.about.license

    @property
    def generator(self) -> str:
        """Who wrote the manifest, and for what."""
        return _one_line(f"{__version__} for {self.target}")

    @property
    def vendor(self) -> str:
        """Who publishes the package: nobody but the compiler is known."""
        return VENDOR

    @property
    def url(self) -> str:
        """Where to read about it."""
        return URL


def check_packages(names: Sequence[str]) -> tuple[str, ...]:
    """`names` without repetitions. Raises UsageError that names every unknown one, with the nearest that exists."""
    unknown = [name for name in dict.fromkeys(names) if name not in PACKAGES]
    if unknown:
        known = f"packages are {', '.join(PACKAGES)}"
        raise UsageError(
            [Diagnostic(f"unknown package '{name}'", help=did_you_mean(name, PACKAGES) or known) for name in unknown]
        )
    return tuple(dict.fromkeys(names))


def package_files(names: Sequence[str], package: Package) -> dict[str, bytes]:
    """Path below the artifact's directory -> content, of all packagings in `names`; same input, same bytes."""
    files: dict[str, bytes] = {}
    for name, write in PACKAGES.items():
        if name in names:
            files |= write(package)
    if "cmake" in names or "esp-idf" in names:  # one file serves both: each wants it beside the sources
        files["CMakeLists.txt"] = _render(
            "CMakeLists.txt",
            package,
            target=cmake_target(package.prefix),
            cmake="cmake" in names,
            esp_idf="esp-idf" in names,
        )
    return files


def cmake_target(prefix: str) -> str:
    """The CMake target of a network: its name in C, unless CMake has a target of that name."""
    return f"{prefix}_net" if prefix in _CMAKE_TARGETS else prefix


def _cmake(_package: Package) -> dict[str, bytes]:
    return {}


def _esp_idf(package: Package) -> dict[str, bytes]:
    return {"idf_component.yml": _render("idf_component.yml", package)}


def _zephyr(package: Package) -> dict[str, bytes]:
    return {
        "zephyr/module.yml": _render("module.yml", package),
        "zephyr/CMakeLists.txt": _render("zephyr.cmake", package),
        "zephyr/Kconfig": _render("Kconfig", package),
    }


def _platformio(package: Package) -> dict[str, bytes]:
    return {"library.json": _render("library.json", package, name=package.prefix[:_PLATFORMIO_NAME].strip("_"))}


def _arduino(package: Package) -> dict[str, bytes]:
    name = package.prefix[:_ARDUINO_NAME]
    if name.startswith("arduino"):  # only Arduino's own libraries may be called so
        name = f"net_{name}"[:_ARDUINO_NAME]
    root, demo = f"package/arduino/{name}", f"{name}_demo"
    return {
        f"{root}/library.properties": _render("library.properties", package, name=name),
        f"{root}/examples/{demo}/{demo}.ino": _render("demo.ino", package, net=package.interface),
        **{f"{root}/src/{file}": text.encode() for file, text in package.files.items()},
    }


def _cmsis_pack(package: Package) -> dict[str, bytes]:
    name = package.prefix
    license_text = f"SPDX-License-Identifier: {package.license}\n" if package.license else ""
    license_file = "LICENSE.txt" if license_text else ""
    description = _render("package.pdsc", package, name=name, license_file=license_file)
    content = {f"{VENDOR}.{name}.pdsc": description}
    content |= {file: text.encode() for file, text in package.files.items()}
    if license_file:
        content[license_file] = license_text.encode()
    root = "package/cmsis-pack"
    return {
        f"{root}/{VENDOR}.{name}.pdsc": description,
        f"{root}/{VENDOR}.{name}.{package.version}.pack": _zip(content),
    }


PACKAGES: Mapping[str, Callable[[Package], dict[str, bytes]]] = {
    "cmake": _cmake,
    "arduino": _arduino,
    "zephyr": _zephyr,
    "esp-idf": _esp_idf,
    "platformio": _platformio,
    "cmsis-pack": _cmsis_pack,
}


def _zip(files: Mapping[str, bytes]) -> bytes:
    """A ZIP archive with the same bytes everywhere: stored, since compressors differ from version to version."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def _one_line(text: str) -> str:
    """`text` on one line, of printable characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _json(value: str) -> str:
    """A string of JSON, which is one of YAML too."""
    return json.dumps(value, ensure_ascii=False)


def _xml(value: str) -> str:
    return escape(value, {'"': "&quot;"})


def _render(template: str, package: Package, **values: object) -> bytes:
    return _environment().get_template(f"packages/{template}.j2").render(p=package, **values).encode()


@cache
def _environment() -> jinja2.Environment:
    overlay = environment().overlay()
    overlay.filters = {**overlay.filters, "json": _json, "short": _short, "xml": _xml}
    return overlay
