"""The cluster's Git repositories over SSH: Debian's sshd with configuration, keys and user of ours.

sshd knows only users of /etc/passwd, and wants /run/sshd. As root it therefore runs in a mount
namespace of its own: /etc/passwd has one more line there (`git`, with the ids of `nobody`), the
repositories are at /srv, read-only, and /run is empty. Nothing of the machine is changed, nothing
of it is root's but sshd itself, and the namespace goes with its last process. Without root there
is no namespace, and the user is whoever starts it: an sshd can let nobody else in then.

Its clients can run what `_SERVE` lets them run and nothing else.
"""

from __future__ import annotations

import base64
import getpass
import os
import re
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcluster.config import Credentials, write_private
from devcluster.daemon import Daemon, Service
from devcluster.engine import find_program
from devcluster.errors import ClusterError

#: Of `nobody` and `nogroup` on every Debian (base-passwd).
NOBODY = 65534
#: Where the namespace has what the server needs. Both exist everywhere (FHS) and are for this.
MOUNTED_FILES = Path("/mnt")
MOUNTED_REPOSITORIES = Path("/srv")

_START = f"""\
set -e
mount --bind "$1" {MOUNTED_FILES}
mount --bind -o ro "$2" {MOUNTED_REPOSITORIES}
mount --bind {MOUNTED_FILES}/passwd /etc/passwd
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/sshd
exec "$3" -D -e -f {MOUNTED_FILES}/sshd_config
"""

#: The forced command, in words that a client's shell command is split into without any shell.
#: `git-lfs-authenticate`: https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md
_SERVE = r"""
# Arguments: the directory of the repositories, their HTTP address, a file with an HTTP header.
set -fu
root=$1 site=$2 header=$3
set -- ${SSH_ORIGINAL_COMMAND:-}
name=${2:-}
name=${name#"'"} name=${name%"'"} name=${name#/} name=${name%.git}
case $name in
"" | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) echo "ERROR: only git fetch is served here." >&2; exit 1 ;;
esac
[ -f "$root/$name.git/HEAD" ] || { echo "ERROR: Repository not found." >&2; exit 1; }
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
case "$# $1 ${3:-}" in
"2 git-upload-pack ") exec git upload-pack --strict "$root/$name.git" ;;
"3 git-lfs-authenticate download")
    printf '{"href": "%s/%s.git/info/lfs", "header": {"Authorization": "%s"}}\n' \
        "$site" "$name" "$(cat "$header")" ;;
*) echo "ERROR: only git fetch is served here." >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True)
class SshSite:
    """What is served where. `http`: address of the same repositories' HTTP server, for Git LFS."""

    address: str
    port: int
    repositories: Path
    http: str
    user: Credentials


class SshServer(Service):
    """The sshd, its host key, and the one key pair that it lets in; made once per `directory`."""

    def __init__(self, site: SshSite, directory: Path, run_dir: Path, log_path: Path) -> None:
        self._site = site
        self._client_key = directory / "client_key"
        self._files = directory / "server"
        self.daemon = Daemon(
            name="ssh",
            argv=self._argv(),
            run_dir=run_dir,
            log_path=log_path,
            is_ready=self._answers,
        )

    @property
    def user(self) -> str:
        """The user part of its URLs."""
        return "git" if os.geteuid() == 0 else getpass.getuser()

    @property
    def url(self) -> str:
        """The base of clone URLs, without a slash at its end."""
        return f"ssh://{self.user}@{self._site.address}:{self._site.port}"

    @property
    def key(self) -> str:
        """The private key that is let in, as ssh-keygen wrote it."""
        self._make_keys()
        return self._client_key.read_text()

    @property
    def known_hosts(self) -> str:
        """The server's line for a known_hosts file (sshd(8)), with a newline."""
        self._make_keys()
        kind, key, *_ = (self._files / "host_key.pub").read_text().split()
        return f"[{self._site.address}]:{self._site.port} {kind} {key}\n"

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self._make_keys()
        self._write_files()
        self.daemon.spawn()

    def _argv(self) -> list[str]:
        if os.geteuid() != 0:
            return [find_program("sshd"), "-D", "-e", "-f", str(self._files / "sshd_config")]
        start = ["unshare", "--mount", "/bin/sh", "-c", _START, "sshd"]
        return [*start, str(self._files), str(self._site.repositories), find_program("sshd")]

    def _make_keys(self) -> None:
        for directory in (self._files, self._site.repositories):
            directory.mkdir(parents=True, exist_ok=True)
        for path in (self._client_key, self._files / "host_key"):
            if not path.exists():
                make_key(path)

    def _write_files(self) -> None:
        mounted = os.geteuid() == 0
        files = MOUNTED_FILES if mounted else self._files
        repositories = MOUNTED_REPOSITORIES if mounted else self._site.repositories
        pair = f"{self._site.user.username}:{self._site.user.password}".encode()
        header = self._files / "lfs-header"
        write_private(header, f"Basic {base64.b64encode(pair).decode()}\n")
        serve = ["/bin/sh", files / "serve", repositories, self._site.http, files / header.name]
        public = {
            "authorized_keys": self._client_key.with_suffix(".pub").read_text(),
            # The first line with a name counts.
            "passwd": f"git:x:{NOBODY}:{NOBODY}::/:/bin/sh\n" + Path("/etc/passwd").read_text(),
            "serve": _SERVE,
            "sshd_config": self._configuration(files, shlex.join(map(str, serve))),
        }
        for name, text in public.items():
            (self._files / name).write_text(text)
            (self._files / name).chmod(0o644)
        if mounted:
            os.chown(header, NOBODY, NOBODY)
            for directory in (self._files, self._site.repositories):
                directory.chmod(0o755)

    def _configuration(self, files: Path, serve: str) -> str:
        """sshd_config(5). StrictModes would look at the owners of directories above ours."""
        lines = (
            f"ListenAddress {self._site.address}:{self._site.port}",
            f"HostKey {files}/host_key",
            f"AuthorizedKeysFile {files}/authorized_keys",
            "StrictModes no",
            "PidFile none",
            "UsePAM no",
            f"AllowUsers {self.user}",
            "AuthenticationMethods publickey",
            "DisableForwarding yes",
            "PermitTTY no",
            "PermitUserRC no",
            f"ForceCommand {serve}",
            "AcceptEnv GIT_PROTOCOL",
            "UseDNS no",
            "MaxStartups 100",
            *_penalties(),
        )
        return "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self._site.address, self._site.port), 2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _penalties() -> tuple[str, ...]:
    """Since 9.8 sshd shuts out for a while who failed to log in, which tests do on purpose."""
    told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", told)
    has_them = found is not None and (int(found[1]), int(found[2])) >= (9, 8)
    return ("PerSourcePenalties no",) if has_them else ()


def make_key(path: Path) -> None:
    """A new ed25519 key pair without a passphrase: the private key in `path`, mode 0600."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "devcluster", "-f", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`ssh-keygen` failed: {done.stderr.strip()}")
