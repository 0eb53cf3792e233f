"""Publishes a red picture with snow in a corner and a tone of 440 Hz by WHIP with aiortc, until its standard input ends.

    whip_aiortc.py ENDPOINT TOKEN
"""
import asyncio
import fractions
import json
import math
import sys

import av
import numpy
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack

from http_session import Session

RATE, SAMPLES = 48_000, 960


class Red(VideoStreamTrack):
    picture = numpy.full((360, 640, 3), (255, 0, 0), dtype=numpy.uint8)

    async def recv(self):
        pts, base = await self.next_timestamp()
        self.picture[:150, :200] = numpy.random.randint(0, 256, (150, 200, 1), dtype=numpy.uint8)
        frame = av.VideoFrame.from_ndarray(self.picture, format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


class Tone(AudioStreamTrack):
    at = 0

    async def recv(self):
        if self.at == 0:
            self.began = asyncio.get_running_loop().time()
        due = self.began + self.at / RATE
        await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
        wave = [int(16_000 * math.sin(2 * math.pi * 440 * (self.at + n) / RATE)) for n in range(SAMPLES)]
        frame = av.AudioFrame.from_ndarray(numpy.array([wave], dtype=numpy.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.at, fractions.Fraction(1, RATE)
        self.at += SAMPLES
        return frame


async def main():
    connection = RTCPeerConnection()
    for track in (Tone(), Red()):
        connection.addTransceiver(track, direction="sendonly")
    connection.on("connectionstatechange", lambda: print(json.dumps({"state": connection.connectionState}), flush=True))
    await connection.setLocalDescription(await connection.createOffer())
    session = Session(*sys.argv[1:3], connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    session.end()
    await connection.close()


asyncio.run(main())
