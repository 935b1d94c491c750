"""Two specs: the least one, and one that sets every key."""

MINIMAL = """\
schema = 1

[kernel]
name = "tiny"
version = "1.0.0"
entry = "model:forward"

[inputs.x]
dtype = "float32"
shape = ["batch", 4]

[outputs.y]
dtype = "float32"
shape = ["batch"]
"""

FULL = """\
schema = 1

[kernel]
name = "full"
version = "1.2.3"
description = "all keys"
license = "Apache-2.0"
entry = "model:forward"
load = "model:load"
prepare = "model:prepare"
files = ["*.py", "data/**/*.json"]
platforms = ["linux/arm64"]

[os]
distribution = "debian"
release = "bookworm"
updates = false
packages = ["python3", "libgomp1=14.2.0-19"]
allow_scripts = ["0000000000000000000000000000000000000000000000000000000000000000"]

[python]
requirements = ["jax==0.10.2", "numpy>=2; python_version < '3.14'"]
exclude = ["scipy"]

[compiler]
name = "gcc"
version = "14.2.0"
flags = ["-O3"]

[native.op]
sources = ["native/op.cc"]
flags = ["-DX=1"]
headers = ["jaxlib/include"]

[xla]
flags = { xla_a = true, xla_b = 3, xla_c = "x" }

[determinism]
profile = "none"
threads = 3
seed = 9
randomness = "fixed"

[hardware]
cpu = { amd64 = "x86-64-v4", arm64 = "armv9-a" }
memory = "3MiB"
accelerator = "none"
forbid = ["tf32"]

[weights.w]
source = "file:weights/w.safetensors"

[inputs.text]
dtype = "string"
shape = ["batch"]
description = "sentences"

[outputs.y]
dtype = "float32"
shape = ["batch", 8]
description = "numbers"

[examples.one]
inputs = "one.json"
outputs = "one.safetensors"
"""
