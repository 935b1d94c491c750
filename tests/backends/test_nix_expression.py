"""Actions as text of the Nix language."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.backends.action import Action, InputFile
from builder.backends.nix_expression import (
    Ingredients,
    Named,
    deb_name,
    nix_comment,
    nix_string,
    render_action,
    store_name,
)
from builder.store.artifact import Artifact

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
ACTION = Action(
    name="native fold",
    platform="linux/amd64",
    root=("a" * 64,),
    inputs=(InputFile("/in/src/a b.cc", "b" * 64), InputFile("/in/tool", "c" * 64, executable=True)),
    argv=("/usr/bin/g++-14", "-o", "/out/${x}.so"),
    env=(("PATH", "/usr/bin"), ("LC_ALL", 'C"')),
    epoch=1700000000,
)
INGREDIENTS = Ingredients(
    debs=(Named("g_1-2_amd64.deb", "a" * 64),),
    additions=Named("additions.tar", "d" * 64),
    names=Named("names", "e" * 64),
    emulator=None,
)

EXPECTED = """\
# native fold: one action of a kernel's build, rendered by kbuild over the library in lib/.
# Every file is fixed by its hash and stands in the Nix store before this is built.
let
  kbuild = import ./lib {
    busybox = ./busybox;
    system = "x86_64-linux";
  };
  inherit (kbuild) fetch;

  toolchain = kbuild.root {
    debs = [
      (fetch { name = "g_1-2_amd64.deb"; sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; })
    ];
    additions = [
      (fetch { name = "additions.tar"; sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"; })
    ];
    names = fetch { name = "names"; sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"; };
  };
in
# What other actions need too, and so is built first.
{ shared = [ toolchain ]; } //
kbuild.compile {
  name = "native-fold";
  inherit toolchain;
  epoch = 1700000000;
  argv = [
    "/usr/bin/g++-14"
    "-o"
    "/out/\\${x}.so"
  ];
  env = {
    "LC_ALL" = "C\\"";
    "PATH" = "/usr/bin";
    "SOURCE_DATE_EPOCH" = "1700000000";
  };
  inputs = [
    {
      path = "/in/src/a b.cc";
      file = fetch { name = "a-b.cc"; sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"; };
    }
    {
      path = "/in/tool";
      file = fetch { name = "tool"; sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"; };
      executable = true;
    }
  ];
}
"""


def test_an_action_as_an_expression():
    assert render_action(ACTION, INGREDIENTS, host="linux/amd64") == EXPECTED


def test_a_foreign_action_runs_under_the_emulator():
    emulated = replace(INGREDIENTS, emulator=Named("qemu.deb", "f" * 64))
    text = render_action(replace(ACTION, platform="linux/arm64"), emulated, host="linux/amd64")
    words = re.findall(r'^    "(.*)"$', text, re.MULTILINE)
    assert words[:4] == ["/.kbuild/emulator", "/usr/bin/g++-14", "-wrapper", "/.kbuild/emulator"]
    assert 'paths = [ "usr/bin/qemu-aarch64" "usr/bin/qemu-aarch64-static" ];' in text
    assert "inherit toolchain emulator;" in text
    assert 'system = "x86_64-linux";' in text


def test_a_name_cannot_end_its_comment():
    text = render_action(replace(ACTION, name="x\n} evil ("), INGREDIENTS, host="linux/amd64")
    assert text.startswith("# x } evil (: one action")
    assert nix_comment("a\r\nb\x0bc\u2028d") == "a b c d"


@given(TEXT)
def test_names_are_ones_that_nix_takes(text):
    name = store_name(text)
    assert re.fullmatch(r"[0-9A-Za-z+_?=][0-9A-Za-z+._?=-]{0,119}", name)
    assert store_name(name) == name


def test_a_packages_name():
    item = Artifact(
        kind="deb", name="g++-14", version="1:14.2~rc1-3", architecture="amd64", registry="debian", path="pool/x.deb",
        sha256="0" * 64, size=1, roles=("toolchain",), platforms=("linux/amd64",),
    )  # fmt: skip
    assert deb_name(item) == "g++-14_1-14.2-rc1-3_amd64.deb"


@pytest.mark.nix
@settings(max_examples=5, deadline=None)
@given(st.lists(TEXT | st.sampled_from(["${", "$${x}", "''", "\\n", "\\", '"', "$", "a\tb\r\nc"]), min_size=30))
def test_nix_reads_strings_as_they_were(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("eval") / "x.nix"
    file.write_text("[\n" + "\n".join(nix_string(text) for text in texts) + "\n]", encoding="utf-8", newline="")
    run = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", file], capture_output=True, check=True,
        env={"PATH": "/usr/bin:/bin", "NIX_STATE_DIR": str(file.parent), "NIX_STORE_DIR": str(file.parent / "s"),
             "HOME": str(file.parent), "NIX_REMOTE": "dummy://"},
    )  # fmt: skip
    assert json.loads(run.stdout) == texts
