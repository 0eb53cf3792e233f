"""Publishes a red picture with snow in a corner, some 1 Mbit/s, and a tone of 440 Hz by WHIP with GStreamer's webrtcbin, until its standard input ends.

    whip_gst.py ENDPOINT TOKEN
"""
import json
import sys
import threading

from webrtcbin import GLib, Gst, GstWebRTC, Offerer

PIPELINE = """
webrtcbin name=whip bundle-policy=max-bundle
videotestsrc is-live=true pattern=red ! video/x-raw,width=640,height=360,framerate=25/1 ! mix.
videotestsrc is-live=true pattern=snow ! video/x-raw,width=200,height=150,framerate=25/1 ! mix.
compositor name=mix ! video/x-raw,width=640,height=360,framerate=25/1 ! videoconvert ! video/x-raw,format=I420 !
  vp8enc deadline=1 cpu-used=8 target-bitrate=1000000 keyframe-max-dist=100 ! rtpvp8pay picture-id-mode=15-bit !
  application/x-rtp,media=video,encoding-name=VP8,payload=96 ! whip.
audiotestsrc is-live=true freq=440 volume=0.5 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay !
  application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! whip.
"""


class Publisher:
    def __init__(self, endpoint, token):
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.webrtc = self.pipeline.get_by_name("whip")
        for at in range(2):
            transceiver = self.webrtc.emit("get-transceiver", at)
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.offerer = Offerer(self.webrtc, endpoint, token)
        self.webrtc.connect("on-negotiation-needed", self.offerer.offer)
        self.webrtc.connect("notify::connection-state", self.changed)

    def changed(self, webrtc, _):
        state = webrtc.get_property("connection-state").value_nick
        print(json.dumps({"state": state}), flush=True)


def main():
    Gst.init(None)
    publisher = Publisher(*sys.argv[1:3])
    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(loop.quit)), daemon=True).start()
    publisher.pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    if publisher.offerer.session:
        publisher.offerer.session.end()
    publisher.pipeline.set_state(Gst.State.NULL)


main()
