"""One build on an engine's classic builder: sent as a stream, watched as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import docker

from builder.backends.action import OUTPUT
from builder.backends.docker_context import LABEL
from builder.backends.docker_engine import Engine, exhausted
from builder.backends.docker_outcome import Outcome, collect
from builder.errors import EnvironmentFault

_TAIL = 64 << 10
"""Bytes of output that are kept to explain a failure."""
_MADE = re.compile(r" ---> ([0-9a-f]{12,64})\n")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_GONE = re.compile(r"no such image|failed to get digest sha256:", re.IGNORECASE)
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
"""What the builder puts around all that a command writes to stderr; that it comes in time is not promised."""
_LEFT_OVER = "24h"


@dataclass(slots=True)
class _Built:
    """How a build goes: the last image, the command's status and output, (short) IDs of all images on the way."""

    image: str = ""
    status: int = 0
    said: str = ""
    complained: str = ""
    made: list[str] = field(default_factory=list)


class ImageGone(EnvironmentFault):
    """An image that a build needs was removed from the engine meanwhile: its root, or one on the way to its output."""


def build(engine: Engine, context: Iterable[bytes], *, keep: str) -> Outcome:
    """Build, without network, without cache, and without anything of this user's configuration.

    The engine gives up on a build whose client is gone, and removes its container.

    Args:
        engine: builds.
        context: a tar with a Dockerfile.
        keep: ID of the image that the first stage begins with; every other one on the way is removed again.

    Raises:
        ImageGone: somebody removed an image that it needs; building again may help.
        EnvironmentFault: the engine could not do it.
        IntegrityError: it answers with more than any output could be.
    """
    try:
        return _build(engine, context, keep=keep)
    except EnvironmentFault as error:
        if _GONE.search(error.message) or not _has(engine, keep):
            raise ImageGone(
                f"an image was removed while it was in use: {error.message}",
                where=error.where,
                hint="does anybody run `docker image prune` there? Then run kbuild again when that is done",
            ) from error
        raise


def _build(engine: Engine, context: Iterable[bytes], *, keep: str) -> Outcome:
    built = _Built()
    try:
        with engine.speaking("build an image") as client:
            answers = client.build(
                fileobj=iter(context),
                custom_context=True,
                network_mode="none",
                platform=engine.platform,
                nocache=True,
                pull=False,
                rm=True,
                forcerm=True,
                use_config_proxy=False,
                decode=True,
            )
            for answer in answers:
                _take(built, answer, engine)
        if built.status != 0:
            return Outcome(built.status, built.said + built.complained)
        if not built.image:
            raise EnvironmentFault("the Docker engine's builder ended without an image", where=engine.address)
        return _take_out(engine, built.image)
    finally:
        _remove(engine, built, keep)


def _has(engine: Engine, image: str) -> bool:
    with engine.speaking("look for an image") as client:
        try:
            client.inspect_image(image)
        except docker.errors.ImageNotFound:
            return False
    return True


def _take_out(engine: Engine, image: str) -> Outcome:
    """The output folder of an image, through a container that is never started."""
    with engine.speaking("hand out a build's output") as client:
        container = client.create_container(image, command=["-"], labels={LABEL: "output"}, network_disabled=True)["Id"]
        try:
            chunks, _ = client.get_archive(container, OUTPUT)
            return Outcome(0, "", collect(chunks, engine.address))
        finally:
            client.remove_container(container, force=True)


def _take(built: _Built, answer: dict[str, Any], engine: Engine) -> None:
    """Learn from one message of the builder."""
    if "error" in answer:
        detail = answer.get("errorDetail") or {}
        said = str(answer["error"])
        code = detail.get("code")
        if full := exhausted(f"{said}\n{built.complained}", engine.address):
            raise full
        if not isinstance(code, int) or code == 0:
            raise EnvironmentFault(f"the Docker engine's builder failed: {said}", where=engine.address)
        built.status = code
        return
    if aux := answer.get("aux"):
        image = aux.get("ID")
        if isinstance(image, str) and _IMAGE.fullmatch(image):
            built.image = image
            built.made.append(image)
        return
    text = str(answer.get("stream", ""))
    if text.startswith("Step "):
        built.said = built.complained = ""
    elif found := _MADE.fullmatch(text):
        built.made.append(found[1])
    elif text.startswith(_RED):
        built.complained = (built.complained + text.removeprefix(_RED).removesuffix(_PLAIN))[-_TAIL:]
    elif text != "\n" and not text.startswith((" ---> ", "Removing intermediate container ")):
        built.said = (built.said + text)[-_TAIL:]


def _remove(engine: Engine, built: _Built, keep: str) -> None:
    with engine.speaking("remove an image") as client:
        for image in dict.fromkeys(reversed(built.made)):
            if keep.removeprefix("sha256:").startswith(image.removeprefix("sha256:")):
                continue
            try:
                client.remove_image(image)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # gone with its child already, or in use by another one
                    raise


def sweep(engine: Engine) -> None:
    """Remove what builds left that were killed: containers and untagged images with our label, a day old.

    An engine that does not allow it, or is pruning already, is left as it is.
    """
    with engine.speaking("remove what killed builds left") as client, suppress(docker.errors.APIError):
        client.prune_containers(filters={"label": [LABEL], "until": _LEFT_OVER})
        client.prune_images(filters={"label": [LABEL], "until": _LEFT_OVER, "dangling": True})
