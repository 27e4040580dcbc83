"""The fourth road: files of the model hub, pinned to a revision, their hash checked.

A hub file says nothing of its variant; the pin speaks for it, which is sound because the hash
holds it to one sequence of bytes.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ehtseg.records import UserError, written_whole

ENDPOINT = "https://huggingface.co"
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class HubFile:
    """One `model.safetensors` of the hub: repository, commit and hash of its bytes.

    >>> HubFile.of("hub:timm/resnet50.tv_in1k@" + "a" * 40 + "#" + "b" * 64).arch
    'resnet50'
    """

    repository: str
    revision: str
    sha256: str

    @staticmethod
    def of(text: str) -> HubFile:
        """Read `hub:OWNER/NAME@REVISION#SHA256`.

        Raises: UserError where a part is missing or is no full hash.
        """
        form = r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})#([0-9a-f]{64})"
        found = re.fullmatch(form, text)
        if not found:
            raise UserError(
                "a pinned hub file, hub:OWNER/NAME@REVISION#SHA256",
                text,
                "Give the full commit (40 hexadecimal digits) and the SHA-256 of its"
                " model.safetensors (64), both shown on the file's page of the hub.",
            )
        return HubFile(*found.groups())

    @property
    def arch(self) -> str:
        """timm's name of the architecture, which is how timm names its repositories."""
        return self.repository.split("/")[1].split(".")[0]

    @property
    def url(self) -> str:
        """Where the bytes are; HF_ENDPOINT names another server, for example a mirror."""
        server = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        return f"{server}/{self.repository}/resolve/{self.revision}/model.safetensors"

    @property
    def path(self) -> Path:
        """Where it is kept on this machine; the hash in the name keeps revisions apart."""
        return cache_folder() / f"{self.arch}-{self.sha256[:16]}.safetensors"


def cache_folder() -> Path:
    """Where downloads are kept: EHTSEG_CACHE, else `ehtseg` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("EHTSEG_CACHE") or Path(root) / "ehtseg")


# Each pair was found alike in two or more independent public projects that pin these files; the
# hub itself was out of reach when they were written down. Architectures that are not listed have
# no pin that could be confirmed: the user gives one.
PINS: dict[str, HubFile] = {
    "resnet50": HubFile(
        "timm/resnet50.tv_in1k",
        "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
    ),
    "vgg16": HubFile(
        "timm/vgg16.tv_in1k",
        "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
        "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
    ),
}


def pin_of(path: Path) -> HubFile | None:
    """The pin that a file fulfils to the byte, whatever its name; None for any other file."""
    found = sha256_of(path)
    return next((pin for pin in PINS.values() if pin.sha256 == found), None)


def fetched(file: HubFile) -> Path:
    """Where the file is kept on this machine.

    Raises: UserError where it was not downloaded yet.
    """
    if not file.path.exists():
        raise UserError(f"{file.url} at {file.path}", "not downloaded yet", "Download it.")
    return file.path


def fetch(file: HubFile) -> Path:
    """The file on this machine, downloaded the first time.

    Raises: UserError where the server cannot be reached or sends other bytes.
    """
    path = file.path
    if path.exists() and sha256_of(path) == file.sha256:
        return path
    with written_whole(path) as beside:
        _download(file.url, beside)
        got = sha256_of(beside)
        if got != file.sha256:
            raise UserError(
                f"a file of SHA-256 {file.sha256} at {file.url}",
                f"{beside.stat().st_size} bytes of SHA-256 {got}",
                "Nothing was kept. Download again, or give another file by --weights.",
            )
    return path


def _download(url: str, target: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "ehtseg"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, target.open("wb") as out:
            while block := answer.read(BLOCK_BYTES):
                out.write(block)
    except (
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        urllib.error.URLError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"to download {url}", reason, "Connect to the network.") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
