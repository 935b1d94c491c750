"""`kbuild export DIGEST DIR|FILE.tar`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("digest", metavar="DIGEST", help="the digest that a build printed, or its beginning")
    verb.add_argument("target", metavar="DIR|FILE.tar", type=Path, help="a new or empty folder, or a file to (re)place")
    verb.add_argument("--docker", action="store_true", help="a Docker archive for `docker load`, of one platform")
    verb.add_argument(
        "--platform", choices=("linux/amd64", "linux/arm64"), help="with --docker (default: this machine's)"
    )


def run(options: argparse.Namespace) -> int:
    """Write it, and print where and what it is."""
    from builder.errors import UsageError
    from builder.machine import from_environment
    from builder.oci.archive import export_docker
    from builder.oci.image import load
    from builder.oci.layout import export_layout
    from builder.pipeline.attachments import with_sbom
    from builder.platforms import host_platform
    from builder.store.blobs import Store

    store = Store(from_environment(os.environ).store)
    image = load(store, options.digest)
    answer = image.digest
    if options.docker:
        platform = options.platform or host_platform()
        export_docker(store, image.digest, platform, options.target)
        answer = image.manifest(platform).config_digest
    elif options.platform:
        raise UsageError("--platform goes with --docker; an OCI layout holds every platform")
    else:
        export_layout(store, image.digest, options.target, referrers=with_sbom(store, image))
    if options.json:
        print(json.dumps({"target": str(options.target), "digest": answer}))
    else:
        print(answer)
    return 0
