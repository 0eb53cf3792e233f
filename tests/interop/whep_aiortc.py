"""Plays by WHEP with aiortc until it has seen and heard enough, and tells what it was.

    whep_aiortc.py ENDPOINT TOKEN FRAMES
"""
import asyncio
import json
import sys
import time

from aiortc import RTCPeerConnection, RTCSessionDescription
from av.audio.resampler import AudioResampler

from http_session import Session
from seen import Seen


async def watch(track, seen):
    while True:
        frame = await track.recv()
        middle = frame.to_ndarray(format="rgb24")[frame.height // 2][frame.width // 2]
        seen.picture(frame.width, frame.height, map(int, middle))


async def hear(track, seen):
    resampler = AudioResampler(format="s16", layout="mono", rate=48_000)
    while True:
        for frame in resampler.resample(await track.recv()):
            seen.sound(frame.to_ndarray().tobytes(), frame.sample_rate)


async def main():
    endpoint, token, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seen, connection, tasks = Seen(time.monotonic, frames), RTCPeerConnection(), []

    @connection.on("track")
    def on_track(track):
        tasks.append(asyncio.ensure_future((watch if track.kind == "video" else hear)(track, seen)))

    connection.addTransceiver("audio", direction="recvonly")
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    session = Session(endpoint, token, connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
    while not seen.is_enough():
        await asyncio.sleep(0.02)
    print(json.dumps(seen.report()), flush=True)
    for task in tasks:
        task.cancel()
    session.end()
    await connection.close()


asyncio.run(main())
