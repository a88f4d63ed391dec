"""The part of a deployment that happens on the host; sent there as text, so it stands alone.

    python3 -c TEXT ACTION DIRECTORY

It needs Python 3.10 and its standard library. Answers are lines of JSON after PREFIX. The directory
holds ``releases/DIGEST/model.tflite`` for every file that was ever deployed, ``current``, a
symbolic link to the one that serves, and ``log.jsonl``. The link is renamed over the old one, so a
reader finds either the old file or the new one, whole. The log is written before the link: if the
power fails in between, the link is what counts.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time

PREFIX = "leankeras "
MARKER = ".leankeras-deployment"
CURRENT, LOG, RELEASES = "current", "log.jsonl", "releases"
INCOMING, LINK = ".incoming", ".current.new"
RUNTIME = ("numpy", "ai-edge-litert")


class Refused(Exception):
    """Something that stands in the way, in one line."""


def say(**values):
    """Answer with one line."""
    sys.stdout.write(PREFIX + json.dumps(values) + "\n")
    sys.stdout.flush()


def claim(directory, new):
    """Enter the directory, check that it is ours, and lock it until this process ends."""
    if not os.path.isdir(directory):
        if not new or os.path.exists(directory):
            raise Refused(directory + ": no such directory; nothing was ever deployed there")
        os.makedirs(directory)
    os.chdir(directory)
    if not os.path.exists(MARKER):
        if os.listdir("."):
            raise Refused(
                directory + " has other files in it (" + sorted(os.listdir("."))[0] + ", ...); "
                "expected a new or empty directory, or one that was deployed to before"
            )
        if not new:
            raise Refused(directory + ": nothing was ever deployed there")
        open(MARKER, "w").close()
    lock = os.open(".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("another deployment to " + directory + " is running; wait for it") from None
    os.makedirs(RELEASES, exist_ok=True)
    shutil.rmtree(INCOMING, ignore_errors=True)  # of a deployment that was killed
    with contextlib.suppress(FileNotFoundError):
        os.unlink(LINK)


def serving():
    """The digest of the file that serves; None if there is none yet."""
    return os.path.basename(os.readlink(CURRENT)) if os.path.islink(CURRENT) else None


def python(directory):
    """The interpreter that has the runtime: the directory's own if it was installed there."""
    own = os.path.join(directory, "python", "bin", "python")
    return own if os.path.exists(own) else sys.executable


def has_runtime(interpreter):
    """Whether an interpreter can run a .tflite."""
    code = "import numpy, ai_edge_litert.interpreter"
    return subprocess.run([interpreter, "-c", code], stderr=subprocess.DEVNULL).returncode == 0


def install(directory):
    """Install the runtime for the directory alone."""
    own = os.path.join(directory, "python")
    for command in (
        [sys.executable, "-m", "venv", "--clear", own],
        [os.path.join(own, "bin", "python"), "-m", "pip", "install", "--quiet", *RUNTIME],
    ):
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode:
            said = run.stdout.decode(errors="replace").strip().splitlines() or ["no reason given"]
            shutil.rmtree(own, ignore_errors=True)
            raise Refused("the runtime cannot be installed: " + said[-1])


def receive():
    """Write the files of the standard input to a directory of their own and check each."""
    os.mkdir(INCOMING)
    for name, (size, digest) in json.loads(line())["files"].items():
        with open(os.path.join(INCOMING, name), "wb") as file:
            while size:
                part = sys.stdin.buffer.read(min(size, 1 << 20))
                if not part:
                    raise Refused("the connection ended before all files had arrived")
                file.write(part)
                size -= len(part)
            file.flush()
            os.fsync(file.fileno())
        if digest_of(os.path.join(INCOMING, name)) != digest:
            raise Refused(name + " arrived with another digest than it was sent with; try again")


def digest_of(path):
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def line():
    """A line of the standard input."""
    text = sys.stdin.buffer.readline()
    if not text.endswith(b"\n"):
        raise Refused("the connection ended")
    return text


def run_trial(interpreter, seconds):
    """Run the file on its vectors in a process of its own, which it may crash."""
    command = [interpreter, os.path.join(INCOMING, "trial.py"), INCOMING, str(seconds)]
    run = subprocess.run(command, capture_output=True)
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip().splitlines()
        how = f"signal {-run.returncode}" if run.returncode < 0 else said[-1] if said else "?"
        raise Refused("the file does not run there: " + how)
    return json.loads(run.stdout.decode().splitlines()[-1])


def entries():
    """The log; a line that was cut off when the power failed is not an entry."""
    if not os.path.exists(LOG):
        return []
    with open(LOG, encoding="utf-8") as file:
        return [json.loads(text) for text in file if text.endswith("}\n")]


def switch(action, digest, note):
    """Log the change, then rename a link to a release over the current one."""
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "action": action}
    entry.update(digest=digest, replaced=serving(), **note)
    with open(LOG, "a", encoding="utf-8") as file:
        file.write("\n" if file.tell() and not tidy() else "")
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.symlink(os.path.join(RELEASES, digest), LINK)
    os.replace(LINK, CURRENT)
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return entry


def tidy():
    """Whether the log ends with a whole line."""
    with open(LOG, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def deploy(directory, wants_runtime):
    """Receive files, try them, and switch to them once the other side agrees."""
    ready = has_runtime(python(directory))
    if not ready and not wants_runtime:
        raise Refused(
            "no " + " and ".join(RUNTIME) + " for " + python(directory) + "; repeat with "
            "--install to install them in " + directory
        )
    claim(directory, new=True)
    if not ready:
        say(step="installing")
        install(directory)
    say(step="ready", serving=serving(), machine=platform.machine(), python=python(directory))
    try:
        receive()
        say(step="trying")
        order = json.loads(line())
        say(step="tried", **run_trial(python(directory), order["seconds"]))
        digest = digest_of(os.path.join(INCOMING, "model.tflite"))
        order = json.loads(line())
        release = os.path.join(RELEASES, digest)
        os.makedirs(release, exist_ok=True)
        for name in sorted(os.listdir(INCOMING)):
            os.replace(os.path.join(INCOMING, name), os.path.join(release, name))
        done = {"step": "unchanged", "digest": digest}
        if serving() != digest:
            done = dict(switch("deploy", digest, order["note"]), step="switched")
    finally:
        shutil.rmtree(INCOMING, ignore_errors=True)
    say(**done)


def rollback(directory):
    """Switch back to the file that served before the current one."""
    claim(directory, new=False)
    now = serving()
    before = [
        entry["replaced"]
        for entry in entries()
        if entry["action"] == "deploy" and entry["digest"] == now
    ]
    if not before or before[-1] is None:
        raise Refused("no file served before this one; deploy another")
    file = os.path.join(RELEASES, before[-1], "model.tflite")
    if not os.path.exists(file) or digest_of(file) != before[-1]:
        raise Refused("the file that served before is missing or damaged; deploy it again")
    say(step="switched", **switch("rollback", before[-1], {}))


def main(action, directory):
    """Do it; whatever goes wrong is answered in one line."""
    directory = os.path.abspath(os.path.expanduser(directory))
    try:
        if action == "rollback":
            rollback(directory)
        else:
            deploy(directory, wants_runtime=action == "install")
    except Refused as error:
        say(error=str(error))
    except OSError as error:
        where = error.filename2 or error.filename or directory
        say(error=f"{where}: {error.strerror or error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
