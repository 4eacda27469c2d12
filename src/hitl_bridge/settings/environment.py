"""What is known of this machine: environment variables and the workspace's secret files. Read here and nowhere else.

HITL_LABEL_STUDIO_TOKEN   personal access token; otherwise the file that the next one names; otherwise `.hitl/label-studio/token`
HITL_TOKEN_FILE           a file that holds the token (a credential of systemd, a mounted secret)
HITL_LABEL_STUDIO_URL     in place of `label_studio.url`
HITL_STORE_URL            in place of `store`; may hold a password, which `hitl.yaml` may not
HITL_WORKSPACE_KEY        64 hex digits; otherwise `.hitl/workspace.key`
HITL_CACHE_DIR            where a local Label Studio is installed; otherwise `hitl-bridge` in the user's cache
HITL_APPROVER_TOKEN       the access token of who signs off thresholds that let more through; otherwise the next one's file
HITL_APPROVER_TOKEN_FILE  a file of mode 0600 that holds it
HITL_RECALL_SECRET        with which calls to `audit.recall_webhook` are signed
HITL_NOTICES              where notices go, a line for each channel: its name, a space, the address
HITL_NOTICES_FILE         a file of mode 0600 that holds these lines; otherwise `.hitl/notices`
NOTIFY_SOCKET             set by systemd: where the daemon says that it is ready and alive
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from hitl_bridge.errors import UsageError
from hitl_bridge.settings.tree import Secret

TOKEN = "HITL_LABEL_STUDIO_TOKEN"  # noqa: S105 (its name, not its value)
TOKEN_FILE = "HITL_TOKEN_FILE"  # noqa: S105
LABEL_STUDIO_URL = "HITL_LABEL_STUDIO_URL"
STORE_URL = "HITL_STORE_URL"
WORKSPACE_KEY = "HITL_WORKSPACE_KEY"
CACHE_DIR = "HITL_CACHE_DIR"
NOTIFY_SOCKET = "NOTIFY_SOCKET"
RECALL_SECRET = "HITL_RECALL_SECRET"  # noqa: S105
NOTICES = "HITL_NOTICES"
NOTICES_FILE = "HITL_NOTICES_FILE"
APPROVER_TOKEN = "HITL_APPROVER_TOKEN"  # noqa: S105
APPROVER_TOKEN_FILE = "HITL_APPROVER_TOKEN_FILE"  # noqa: S105

KEY_BYTES = 32
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO


def key_file(root: Path) -> Path:
    return root / ".hitl" / "workspace.key"


def token_file(root: Path) -> Path:
    return root / ".hitl" / "label-studio" / "token"


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where big things that can be made again are kept. Raises UsageError for a user without a home who names no place."""
    known = os.environ if environ is None else environ
    try:
        if known.get(CACHE_DIR):
            return Path(known[CACHE_DIR]).expanduser().absolute()
        home = known.get("XDG_CACHE_HOME")
        return (Path(home) if home else Path.home() / ".cache") / "hitl-bridge"
    except RuntimeError:
        raise UsageError(
            "This user has no home folder to keep a local Label Studio in.", remedy=f"Name a folder for it in {CACHE_DIR}."
        ) from None


def token(root: Path, environ: Mapping[str, str]) -> Secret | None:
    """Label Studio's token, or None if there is none yet. Raises UsageError if others can read its file."""
    if environ.get(TOKEN, "").strip():
        return Secret(environ[TOKEN].strip())
    named = environ.get(TOKEN_FILE, "").strip()
    # A credential of systemd belongs to root, and the service may read it by an access list, which shows as group rights.
    kept = private_text(Path(named), others=stat.S_IRWXO) if named else private_text(token_file(root))
    return Secret(kept) if kept else None


def recall_secret(environ: Mapping[str, str]) -> Secret | None:
    """What calls to the recall webhook are signed with."""
    text = environ.get(RECALL_SECRET, "").strip()
    return Secret(text) if text else None


def approver_token(environ: Mapping[str, str]) -> Secret | None:
    """The access token of the person who signs off. Raises UsageError if others can read its file."""
    if environ.get(APPROVER_TOKEN, "").strip():
        return Secret(environ[APPROVER_TOKEN].strip())
    named = environ.get(APPROVER_TOKEN_FILE, "").strip()
    kept = private_text(Path(named)) if named else ""
    return Secret(kept) if kept else None


def notices_file(root: Path) -> Path:
    return root / ".hitl" / "notices"


def notice_addresses(root: Path, environ: Mapping[str, str]) -> dict[str, Secret]:
    """The address of each channel. Raises UsageError if others can read the file, or a line is none; never repeating one."""
    named = environ.get(NOTICES_FILE, "").strip()
    given = environ.get(NOTICES, "")
    source = NOTICES if given.strip() else named or str(notices_file(root))
    text = given if given.strip() else private_text(Path(source))
    found: dict[str, Secret] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, address = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if not address.strip() or name in found:
            what = "is there twice" if name in found else "has no address"
            raise UsageError(
                f"Line {number} of {source}: the channel {what}.", remedy="Write a line for each: its name, a space, its address."
            )
        found[name] = Secret(address.strip())
    return found


def notify_socket(environ: Mapping[str, str]) -> str | None:
    """The address of systemd's notification socket, if a service manager started us."""
    return environ.get(NOTIFY_SOCKET) or None


def workspace_key(root: Path, environ: Mapping[str, str]) -> bytes:
    """The key of all draws and digests, 32 bytes. Raises UsageError if it is missing or damaged."""
    text = environ.get(WORKSPACE_KEY, "").strip()
    source = WORKSPACE_KEY if text else str(key_file(root))
    text = text or private_text(key_file(root))
    if not text:
        raise UsageError(
            f"The workspace key is missing: there is no {key_file(root)}.",
            remedy="Copy the file from where this workspace was made, or set HITL_WORKSPACE_KEY. Only if nothing was"
            " ever ingested here: `hitl-bridge init --here` makes a new key.",
        )
    return _key_bytes(text, source)


def key_source(root: Path) -> str:
    """Where the workspace key comes from. Raises UsageError like `workspace_key`."""
    workspace_key(root, os.environ)
    return WORKSPACE_KEY if os.environ.get(WORKSPACE_KEY, "").strip() else str(key_file(root).relative_to(root))


def _key_bytes(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"The workspace key in {source} is damaged: it must be {2 * KEY_BYTES} hex digits.",
            remedy="Put the copy from your backup in its place; with another key every draw would come out differently.",
        )
    return key


def private_text(path: Path, *, others: int = _OTHERS_MAY_READ) -> str:
    """What stands in a secret file; '' if it is not there. Raises UsageError if others can read it, or nobody can."""
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(65_536)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        remedy = f"It has to be a file of the user who runs this: chown USER {path} && chmod 600 {path}"
        raise UsageError(f"{path} can't be read: {error.strerror}.", remedy=remedy) from None
    if os.name == "posix" and mode & others:
        raise UsageError(f"Others can read the secret in {path} (mode {stat.S_IMODE(mode):04o}).", remedy=f"chmod 600 {path}")
    return content.decode("utf-8", errors="replace").strip()
