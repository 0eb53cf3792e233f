"""Real clients against the real server: who publishes by WHIP is seen and heard by whoever plays by WHEP. Prints figures.

    run.py [PUBLISHER-PLAYER ...]      such as gst-aiortc; all four without one. FRAMES=2000: for longer
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from http_session import Refused, request

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
# Debian's own Python: its packages are there.
PYTHON = "/usr/bin/python3"
PAIRS = ["gst-aiortc", "aiortc-gst", "gst-gst", "aiortc-aiortc"]
FRAMES = int(os.environ.get("FRAMES", 100))
PATIENCE = 30 + FRAMES / 10


def script(name, *args, **pipes):
    return subprocess.Popen([PYTHON, str(HERE / f"{name}.py"), *args], cwd=HERE, text=True, **pipes)


def serve(folder):
    program = os.environ.get("DIEMCAU", str(TARGET / "debug" / "diemcau"))
    server = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--data", folder, "--ready-json"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return server, json.loads(server.stdout.readline())


def metric(ready, line):
    _, _, text = request("GET", ready["metrics"], "")
    return next((float(row.split()[-1]) for row in text.splitlines() if row.startswith(line + " ")), 0.0)


def play(ready, token, player, path):
    process = script(f"whep_{player}", f"{ready['http']}/whep/demo/{path}", token, str(FRAMES), stdout=subprocess.PIPE)
    try:
        out, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise SystemExit(f"{player} has not seen and heard {path} within {PATIENCE} s") from None
    assert process.returncode == 0, process.returncode
    seen = json.loads(out)
    red, green, blue = seen["colour"]
    assert red > 180 and green < 80 and blue < 80, seen
    assert 430 < seen["tone"] < 450, seen
    assert seen["size"] == [640, 360], seen
    return seen


def pair(ready, token, name):
    publisher, player = name.split("-")
    called = f"cam-{name}"
    endpoint = f"{ready['http']}/whip/demo?name={called}"
    process = script(f"whip_{publisher}", endpoint, token, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for line in process.stdout:
            if json.loads(line)["state"] == "connected":
                break
        assert process.poll() is None, "the publisher ended"
        for path in (called, "stage"):
            print(json.dumps({"pair": name, "path": path, **play(ready, token, player, path)}), flush=True)
    finally:
        process.stdin.close()
        process.wait(timeout=PATIENCE)
    try:
        request("POST", f"{ready['http']}/whep/demo/{called}", token, "v=0", {"Content-Type": "application/sdp"})
        raise SystemExit("a point that ended is still there")
    except Refused as refused:
        assert refused.problem["code"] == "unknown_point", refused


def main():
    with tempfile.TemporaryDirectory(prefix="diemcau-interop-") as folder:
        server, ready = serve(folder)
        try:
            token = ready["token"]
            for name in sys.argv[1:] or PAIRS:
                pair(ready, token, name)
            weak = metric(ready, 'diemcau_srtp_total{profile="aes_cm_sha1"}')
            print(json.dumps({"weak_srtp_connections": weak}))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=PATIENCE)


main()
