"""What DVC and we write down about the data: its pointer files, its cache, its settings, and our own manifest.

A pointer `data/decisions.dvc` names a listing by hash; the listing (a JSON list in the cache) names the files by hash; each file
is an object of the cache. Layout: DVC 3, `files/md5/ab/cdef…`. Reading it costs nothing, a `dvc` command about a second.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.errors import RepositoryRefused

MANIFEST = "data/decisions.sha256"
_POINTED_AT = re.compile(rb"^[-\s]*md5:\s*([0-9a-f]{32}\.dir)\s*$", re.MULTILINE)
_PATH_SETTINGS = frozenset(
    {"url", "dir", "credentialpath", "configpath", "keyfile", "cert_path", "key_path"}
    | {"gdrive_user_credentials_file", "gdrive_service_account_json_file_path"}
)
_CLONE_SETTINGS = {
    "core": {"analytics": "false", "autostage": "false", "check_update": "false"},
    "cache": {"type": '"reflink,copy"'},
}
_PLAIN_REMOTE = frozenset({"url", "verify", "jobs"})
"""What may be set for a remote that we write to ourselves: none of it changes what lies there."""

_MANIFEST_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ----------------------------------------------------------------------------------------------- our manifest


@dataclass(frozen=True, slots=True)
class Manifest:
    """SHA-256 by path of every file of a version and of all versions before it; `sha256sum -c` reads it too."""

    digests: Mapping[str, str]

    @staticmethod
    def parse(text: bytes | None) -> Manifest:
        lines = (text or b"").decode().splitlines()
        matches = [_MANIFEST_LINE.fullmatch(line) for line in lines]
        broken = [number for number, match in enumerate(matches, start=1) if match is None]
        if broken:
            raise RepositoryRefused(
                f"{MANIFEST} is broken in line {broken[0]}.", remedy=f"Restore it from git: `git log -p -- {MANIFEST}`."
            )
        return Manifest({match[2]: match[1] for match in matches if match})

    def with_files(self, digests: Mapping[str, str]) -> Manifest:
        return Manifest({**self.digests, **digests})

    def text(self) -> bytes:
        return "".join(f"{self.digests[path]}  {path}\n" for path in sorted(self.digests)).encode()

    def in_directory(self, directory: str) -> dict[str, str]:
        return {path: digest for path, digest in self.digests.items() if path.startswith(f"{directory}/")}


# ------------------------------------------------------------------------------------------------- DVC's cache


def pointed_at(pointer: bytes) -> str | None:
    """The hash of the listing that a pointer file names (ends in `.dir`); None if it names none."""
    found = _POINTED_AT.findall(pointer)
    return found[0].decode() if len(found) == 1 else None


def listed(listing: bytes | str) -> dict[str, str]:
    """Hash by path of what a listing names. Raises ValueError if it is none."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(listing)}
    except (KeyError, TypeError) as broken:
        raise ValueError("no listing") from broken


class DvcCache:
    """The cache of the workspace at `root`, read directly."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def listing(self, pointer: bytes, directory: str) -> dict[str, str] | None:
        """MD5 by path (from the workspace's root) of the files in `directory`; None where the listing is not here."""
        name = pointed_at(pointer)
        content = self.content(name) if name else None
        if content is None:
            return None
        try:
            return {f"{directory}/{path}": md5 for path, md5 in listed(content).items()}
        except ValueError as broken:
            raise RepositoryRefused(
                f"The DVC cache is damaged: {self.path(name or '')} is no listing.",
                remedy="Delete that file and run `dvc fetch`.",
            ) from broken

    def content(self, name: str) -> bytes | None:
        path = self.path(name)
        return path.read_bytes() if path.is_file() else None

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def keep(self, name: str) -> None:
        """Forces the object to the disk: DVC leaves that to the operating system."""
        with self.path(name).open("rb") as file:
            os.fsync(file.fileno())

    def path(self, name: str) -> Path:
        return self.objects / name[:2] / name[2:]

    @property
    def objects(self) -> Path:
        """Where they lie, in folders named by the first two letters of their names."""
        return self.directory / "files" / "md5"

    @property
    def directory(self) -> Path:
        configured = _setting(self._root, "cache", "dir")
        return self._root / ".dvc" / (configured or "cache")


# ---------------------------------------------------------------------------------------------- DVC's settings


def default_remote(root: Path) -> str | None:
    """The name of the remote that `dvc push` would use, if there is one."""
    return _setting(root, "core", "remote")


def plain_folder(root: Path) -> Path | None:
    """The folder that the default remote is, if it is one of this machine's and nothing special is configured for it."""
    name = default_remote(root)
    known = _section(root, f'remote "{name}"') if name else {}
    address = known.get("url", "")
    if not address or re.match(r"\w+:", address) or address.startswith("~") or known.keys() - _PLAIN_REMOTE:
        return None
    return Path(address)


def has_plain_cache(root: Path) -> bool:
    """Whether the cache is what DVC makes it where nobody says otherwise: objects are copies, for one user, checked by name."""
    known, core = _section(root, "cache"), _section(root, "core")
    copied = set(known.get("type", "copy").replace(" ", "").split(",")) <= {"reflink", "copy"}
    return copied and known.keys() <= {"dir", "type"} and core.get("hardlink_lock", "false").lower() == "false"


def _section(root: Path, name: str) -> dict[str, str]:
    """The settings of a section from all levels; what is a path is absolute."""
    known: dict[str, str] = {}
    for path in reversed(_levels(root)):
        parser = _parsed(path)
        for section in parser.sections():
            if section.strip("'").lower() == name.lower():
                pairs = ((key, value or "") for key, value in parser.items(section))
                known |= {key: _anchored(path.parent, key, value).strip("'\"") for key, value in pairs}
    return known


def settings_for_clone(workspace: Path) -> bytes:
    """What `.dvc/config.local` of the bridge's clone says: the workspace's own settings, with its paths made absolute, and
    ours. One cache serves both; files are copied out of it, for a linked one that is edited is a damaged cache.
    """
    merged: dict[str, dict[str, str]] = {}
    for name in ("config", "config.local"):
        parser = _parsed(workspace / ".dvc" / name)
        for section in parser.sections():
            known = merged.setdefault(section, {})
            known |= {key: _anchored(workspace / ".dvc", key, value) for key, value in parser.items(section)}
    for section in merged:
        if section.strip("'").startswith("remote "):
            merged[section].setdefault("verify", "true")  # else whatever lies there is believed to be what was asked for
    for section, ours in _CLONE_SETTINGS.items():
        merged[section] = {**merged.get(section, {}), **ours}
    merged["cache"]["dir"] = str(DvcCache(workspace).directory.absolute())
    lines = [(f"[{section}]", *(f"    {key} = {value}" for key, value in known.items())) for section, known in merged.items()]
    return "".join(f"{line}\n" for section in lines for line in section).encode()


def _anchored(directory: Path, key: str, value: str) -> str:
    """A setting that is a path counts from the folder of the file it stands in."""
    text = value.strip("'\"")
    if key not in _PATH_SETTINGS or re.match(r"\w+://", text) or text.startswith("~"):
        return value
    return str((directory / text).absolute())


def _setting(root: Path, section: str, name: str) -> str | None:
    """A setting of DVC, the strongest level first: local, project, user, machine."""
    for path in _levels(root):
        value = _parsed(path).get(section, name, fallback=None)
        if value:
            return value.strip("'\"")
    return None


def _levels(root: Path) -> list[Path]:
    """The strongest first."""
    return [root / ".dvc" / "config.local", root / ".dvc" / "config", *_outer_settings()]


def _parsed(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    if path.is_file():
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    return parser


def _outer_settings() -> tuple[Path, Path]:
    mac = sys.platform == "darwin"
    support = "Library/Application Support"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  (a user may have none: this stays as it is, `Path.home` raises)
    user = home / support if mac else Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    machine = Path("/") / support if mac else Path("/etc/xdg")
    directories = (
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user / "dvc"),
        Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or machine / "dvc"),
    )
    return directories[0] / "config", directories[1] / "config"


# ----------------------------------------------------------------------------------------------------- writing


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def write_durably(path: Path, content: bytes | str) -> None:
    """Whole or not at all, and on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with part.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
