"""Packagings of standalone C: what each build system demands of them, and that compilers take them."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import Artifact, load_artifact
from dscompile.emit.interface import network_interface
from dscompile.emit.mcu import write_artifact
from dscompile.emit.packages import PACKAGES, About, Package, check_packages, cmake_target, package_files
from dscompile.emit.selftest import selftest_input
from dscompile.errors import UsageError
from dscompile.frontend.netfile import netfile_from_text
from dscompile.ir.network import Network
from tests.mcu import planned
from tests.tools import require_tools

ALL = tuple(PACKAGES)
ABOUT = About('Says "yes" & <no>', "1.20.3", "Apache-2.0 OR MIT")
TITLED = """\
dscompile: 1
network:
  name: {name}
  input: {{name: image, shape: [1, 5, 5, 2]}}
  layers:
    - conv: {{name: stem, out: 3, kernel: 3}}
    - pool: {{kind: average, over: all}}
    - dense: {{name: head, out: 3, activation: none}}
  labels: [low, middle, high]
weights: {{seed: 7}}
"""


def tiny(name: str = "tiny") -> Network:
    return netfile_from_text(TITLED.format(name=name), Path("tiny.yaml")).network


def write(directory: Path, packages: tuple[str, ...], about: About = ABOUT, network: Network | None = None) -> Artifact:
    network = network or tiny()
    inputs = selftest_input(network)
    outputs = oracle_outputs(network, inputs)
    program = planned(network)
    return write_artifact(program, inputs, outputs, directory, origin="tiny.yaml", packages=packages, about=about)


def package(name: str = "tiny", about: About = ABOUT, target: str = "c99") -> Package:
    interface = network_interface(tiny(name))
    return Package(
        interface, about, target, {f"{interface.prefix}{end}": "int x;\n" for end in (".h", ".c", "_weights.c")}
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An artifact with all packagings. Tests must not change it."""
    return write(tmp_path_factory.mktemp("packages") / "tiny", ALL)


def text(artifact: Artifact, name: str) -> str:
    return (artifact.directory / name).read_text(encoding="utf-8")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_a_package_is_in_the_manifest(artifact: Artifact):
    loaded = load_artifact(artifact.directory)
    loaded.verify_files()
    written = {str(path.relative_to(artifact.directory)) for path in artifact.directory.rglob("*") if path.is_file()}
    assert {checksum.file for checksum in loaded.manifest.checksums} == written - {"manifest.json"}
    assert "package/arduino/tiny/src/tiny.c" in written


def test_two_builds_give_the_same_bytes(artifact: Artifact, tmp_path: Path):
    again = write(tmp_path / "again", ALL)
    assert again.manifest.checksums == artifact.manifest.checksums
    assert (tmp_path / "again/manifest.json").read_bytes() == (artifact.directory / "manifest.json").read_bytes()


def test_without_packages_there_is_no_other_file(tmp_path: Path):
    names = {path.name for path in write(tmp_path / "plain", ()).directory.iterdir()}
    assert names == {"tiny.h", "tiny.c", "tiny_weights.c", "selftest.c", "manifest.json"}


def test_sources_are_copied_only_for_arduino_and_the_pack():
    for name in ALL:
        copies = [file for file in package_files([name], package()) if file.endswith(".c")]
        assert len(copies) == (2 if name == "arduino" else 0), name


def test_unknown_packages_get_the_nearest_in_one_message():
    with pytest.raises(UsageError) as caught:
        check_packages(["cmaek", "cmake", "bazel"])
    assert str(caught.value) == (
        "error: unknown package 'cmaek'\n  = help: did you mean 'cmake'?\n"
        "error: unknown package 'bazel'\n"
        "  = help: packages are cmake, arduino, zephyr, esp-idf, platformio, cmsis-pack"
    )


def test_the_documentation_lists_exactly_the_packagings():
    page = (Path(__file__).parents[2] / "docs" / "packaging.md").read_text()
    assert re.findall(r"^\| `([a-z][a-z-]*)` \|", page, re.MULTILINE) == list(ALL)


def test_a_package_asked_for_twice_is_made_once():
    assert check_packages(["zephyr", "cmake", "zephyr"]) == ("zephyr", "cmake")


def test_cmake_builds_the_selftest_through_add_subdirectory(artifact: Artifact, tmp_path: Path):
    require_tools("cmake", "cc", "make")
    (tmp_path / "main.c").write_text(
        '#include "tiny.h"\nint main(void) { return tiny_fingerprint != TINY_FINGERPRINT; }\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\nset(TINY_SELFTEST ON)\n"
        f'add_subdirectory("{artifact.directory}" tiny)\n'
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE tiny::tiny)\n"
    )
    run("cmake", "-S", ".", "-B", "build", cwd=tmp_path)
    run("cmake", "--build", "build", cwd=tmp_path)
    run("build/app", cwd=tmp_path)
    assert run("build/tiny/tiny_selftest", cwd=tmp_path) == "tiny selftest: ok\n"


def test_a_network_called_like_a_target_of_cmake_gets_another():
    assert [cmake_target(name) for name in ("test", "package", "kws")] == ["test_net", "package_net", "kws"]
    content = package_files(["cmake"], package("all"))["CMakeLists.txt"].decode()
    assert "add_library(all_net STATIC all.c all_weights.c)" in content
    assert "add_library(all_net::all_net ALIAS all_net)" in content


COMPONENT = """\
function(idf_component_register)
    cmake_parse_arguments(C "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
    add_library(component STATIC ${C_SRCS})
    target_include_directories(component PUBLIC ${C_INCLUDE_DIRS})
endfunction()
set(ESP_PLATFORM 1)
"""
MODULE = """\
function(zephyr_library_named name)
    add_library(${name} STATIC)
    set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
    include_directories(${ARGN})
    set_property(DIRECTORY "${CMAKE_SOURCE_DIR}" APPEND PROPERTY INCLUDE_DIRECTORIES ${ARGN})
endfunction()
set(CONFIG_DSCOMPILE_TINY y)
"""


@pytest.mark.parametrize(
    ("commands", "library", "subdirectory", "packages"),
    [
        (COMPONENT, "component", ".", ("esp-idf",)),
        (COMPONENT, "component", ".", ("esp-idf", "cmake")),
        (MODULE, "tiny_network", "zephyr", ("zephyr",)),
    ],
)
def test_the_selftest_links_with_what_a_component_or_module_registers(
    commands: str, library: str, subdirectory: str, packages: tuple[str, ...], tmp_path: Path
):
    """CMake with stand-ins for the commands of ESP-IDF and Zephyr, as their documentation describes them."""
    require_tools("cmake", "cc", "make")
    artifact = write(tmp_path / "tiny", packages)
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20)\nproject(app C)\n{commands}"
        f'add_subdirectory("{artifact.directory / subdirectory}" tiny)\n'
        f'add_executable(app "{artifact.directory}/selftest.c")\ntarget_link_libraries(app PRIVATE {library})\n'
    )
    run("cmake", "-S", ".", "-B", "build", cwd=tmp_path)
    run("cmake", "--build", "build", cwd=tmp_path)
    assert run("build/app", cwd=tmp_path) == "tiny selftest: ok\n"


def test_a_zephyr_module_has_what_its_schema_demands(artifact: Artifact):
    """Keys and paths of doc/develop/modules: both are relative to the module, not to module.yml."""
    module = YAML(typ="safe").load(text(artifact, "zephyr/module.yml"))
    assert module == {"name": "tiny", "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}}
    assert (artifact.directory / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = text(artifact, module["build"]["kconfig"]).splitlines()
    assert kconfig[1:4] == ["config DSCOMPILE_TINY", '\tbool "Neural network tiny"', "\thelp"]
    assert all(line.startswith("\t  ") for line in kconfig[4:])


def test_an_esp_idf_manifest_has_version_description_and_license(artifact: Artifact):
    manifest = YAML(typ="safe").load(text(artifact, "idf_component.yml"))
    assert manifest == {"version": "1.20.3", "description": 'Says "yes" & <no>', "license": "Apache-2.0 OR MIT"}


def test_a_platformio_manifest_has_what_its_schema_demands(artifact: Artifact):
    """Lengths and required fields of platformio-core's library.json schema."""
    manifest = json.loads(text(artifact, "library.json"))
    assert {"name", "version", "description", "keywords"} <= set(manifest)
    assert (manifest["name"], manifest["version"], manifest["license"]) == ("tiny", "1.20.3", "Apache-2.0 OR MIT")
    assert manifest["description"] == 'Says "yes" & <no>'
    assert manifest["build"]["srcFilter"] == ["+<tiny.c>", "+<tiny_weights.c>"]
    assert (manifest["build"]["srcDir"], manifest["build"]["includeDir"]) == (".", ".")
    long = json.loads(package_files(["platformio"], package("n" * 70, About("d" * 300)))["library.json"])
    assert (len(long["name"]), len(long["description"])) == (50, 255)
    assert "license" not in long


ARDUINO_FIELDS = "name version author maintainer sentence paragraph category url architectures".split()  # noqa: SIM905


def properties(content: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in content.splitlines())


def test_an_arduino_library_has_every_required_property(artifact: Artifact):
    found = properties(text(artifact, "package/arduino/tiny/library.properties"))
    assert set(found) == {*ARDUINO_FIELDS, "includes", "license"}
    assert (found["version"], found["category"], found["architectures"]) == ("1.20.3", "Data Processing", "*")
    assert (found["sentence"], found["includes"]) == ('Says "yes" & <no>', "tiny.h")
    assert (artifact.directory / "package/arduino/tiny/examples/tiny_demo/tiny_demo.ino").is_file()


def test_arduino_keeps_names_that_begin_with_its_own_to_itself():
    files = package_files(["arduino"], package("Arduino " + "x" * 70))
    name = properties(next(files[f] for f in files if f.endswith(".properties")).decode())["name"]
    assert name.startswith("net_arduino_x")
    assert len(name) == 63
    assert all(file.startswith(f"package/arduino/{name}/") for file in files)


SERIAL = """\
#include <cstdio>
#include <cstdlib>
struct Console {
    void begin(long) {}
    void println(const char *text) { std::puts(text); }
    void println(int value) { std::printf("%d\\n", value); }
    void println(double value) { std::printf("%g\\n", value); }
};
static Console Serial;
static inline void delay(unsigned long) { std::exit(0); }
"""


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["gnu++11", "gnu++17"])
def test_the_arduino_demo_compiles_as_c_plus_plus_and_prints_a_label(
    compiler: str, standard: str, artifact: Artifact, tmp_path: Path
):
    """The sketch with a stand-in for Arduino.h, linked with the library's C, on an input of zeros."""
    require_tools(compiler, "cc")
    root = artifact.directory / "package/arduino/tiny"
    (tmp_path / "Arduino.h").write_text(SERIAL)
    (tmp_path / "main.cpp").write_text(
        f'#include "Arduino.h"\n#include "{root}/examples/tiny_demo/tiny_demo.ino"\n'
        "int main() { setup(); for (;;) loop(); }\n"
    )
    run("cc", "-std=gnu11", "-O1", "-c", *sorted((root / "src").glob("*.c")), cwd=tmp_path)
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", f"-I{root / 'src'}"]
    run(compiler, *flags, "main.cpp", "tiny.o", "tiny_weights.o", "-o", "demo", cwd=tmp_path)
    network = tiny()
    zeros = {name: array * 0 for name, array in selftest_input(network).items()}
    output = oracle_outputs(network, zeros)[network.outputs[0]]
    assert run("./demo", cwd=tmp_path) == f"{network.labels[int(output.argmax())]}\n"


def test_the_arduino_demo_prints_outputs_where_there_are_no_labels():
    bare = dataclasses.replace(tiny(), labels=())
    unlabeled = dataclasses.replace(package(), interface=network_interface(bare))
    files = package_files(["arduino"], unlabeled)
    sketch = files["package/arduino/tiny/examples/tiny_demo/tiny_demo.ino"].decode()
    assert "Serial.println(output[i]);" in sketch
    assert "tiny_labels" not in sketch


def test_a_pdsc_has_the_required_elements_and_names_files_of_its_pack(artifact: Artifact):
    """What PACK.xsd 1.7 requires of a pack with one component."""
    folder = artifact.directory / "package/cmsis-pack"
    root = ElementTree.parse(folder / "dscompile.tiny.pdsc").getroot()
    assert root.tag == "package"
    assert re.fullmatch(r"1\.\d+\.\d+", root.get("schemaVersion", ""))
    assert [root.findtext(tag) for tag in ("vendor", "name", "description", "url", "license")] == [
        *("dscompile", "tiny", 'Says "yes" & <no>', "", "LICENSE.txt")
    ]
    assert root.find("releases/release").get("version") == "1.20.3"
    component = root.find("components/component")
    assert {key: component.get(key) for key in ("Cclass", "Cgroup", "Csub", "Cversion")} == {
        **{"Cclass": "Machine Learning", "Cgroup": "Network", "Csub": "tiny", "Cversion": "1.20.3"}
    }
    files = {file.get("name"): file.get("category") for file in component.iter("file")}
    assert files == {"tiny.h": "header", "tiny.c": "sourceC", "tiny_weights.c": "sourceC"}
    with zipfile.ZipFile(folder / "dscompile.tiny.1.20.3.pack") as pack:
        assert pack.testzip() is None
        assert set(pack.namelist()) == {"dscompile.tiny.pdsc", "LICENSE.txt", *files}
        assert pack.read("dscompile.tiny.pdsc") == (folder / "dscompile.tiny.pdsc").read_bytes()
        assert pack.read("tiny.c") == (artifact.directory / "tiny.c").read_bytes()
        assert pack.read("LICENSE.txt") == b"SPDX-License-Identifier: Apache-2.0 OR MIT\n"


def test_a_pack_has_no_clock_and_no_machine_in_it(artifact: Artifact):
    content = (artifact.directory / "package/cmsis-pack/dscompile.tiny.1.20.3.pack").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as pack:
        for entry in pack.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.create_system, entry.compress_type) == (3, zipfile.ZIP_STORED)
        assert pack.namelist() == sorted(pack.namelist())


def test_a_network_that_says_nothing_of_itself_gets_a_plain_description():
    files = package_files(["esp-idf"], package("Größe 7", About()))
    manifest = YAML(typ="safe").load(files["idf_component.yml"].decode())
    assert manifest == {
        "version": "0.0.0",
        "description": "neural network Größe 7, C99 without a heap or an OS",
    }


def test_names_that_end_comments_and_strings_do_no_harm():
    odd = package("a*--b c", About('say "hi"\n#x ${HOME} $(rm) --> */', "1.0.0"), target="my--*/box")
    files = package_files(ALL, odd)
    ElementTree.fromstring(files["package/cmsis-pack/dscompile.a_b_c.pdsc"])
    json.loads(files["library.json"])
    assert YAML(typ="safe").load(files["idf_component.yml"].decode())["description"] == (
        'say "hi" #x ${HOME} $(rm) --> */'
    )
    sketch = files["package/arduino/a_b_c/examples/a_b_c_demo/a_b_c_demo.ino"].decode()
    assert sketch.index("*/") < sketch.index("#include")
    assert sketch[: sketch.index("#include")].count("*/") == 1


def test_net_yaml_gives_version_and_license():
    said = TITLED.format(name="tiny").replace(
        "  input", '  title: A\n  version: "2.0.1"\n  license: MIT AND BSD-3-Clause\n  input'
    )
    file = netfile_from_text(said, Path("tiny.yaml"))
    assert (file.title, file.version, file.license) == ("A", "2.0.1", "MIT AND BSD-3-Clause")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('version: "1.0"', "'version' must be three numbers with points, such as 1.0.0"),
        ("version: 1.0", "'version' must be a text"),
        ('version: "01.0.0"', "'version' must be three numbers with points"),
        ('license: "see the website"', "'license' must be an SPDX expression, such as Apache-2.0 OR MIT"),
    ],
)
def test_a_wrong_version_or_license_is_refused(line: str, message: str):
    said = TITLED.format(name="tiny").replace("  input", f"  {line}\n  input")
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        netfile_from_text(said, Path("tiny.yaml"))
    assert "tiny.yaml:4:" in str(caught.value)
