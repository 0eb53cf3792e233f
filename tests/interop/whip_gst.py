"""Publishes a red picture with snow in a corner, some 1 Mbit/s, and a tone of 440 Hz by WHIP with GStreamer's webrtcbin, until its standard input ends.

    whip_gst.py ENDPOINT TOKEN
"""
import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from http_session import Session  # noqa: E402

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
        self.endpoint, self.token, self.session = endpoint, token, None
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.webrtc = self.pipeline.get_by_name("whip")
        for at in range(2):
            transceiver = self.webrtc.emit("get-transceiver", at)
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.webrtc.connect("on-negotiation-needed", self.negotiate)
        self.webrtc.connect("notify::ice-gathering-state", self.gathered)
        self.webrtc.connect("notify::connection-state", self.changed)

    def negotiate(self, webrtc):
        webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None, None))

    def offered(self, promise, _, __):
        promise.wait()
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, None)

    def gathered(self, webrtc, _):
        if webrtc.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE or self.session:
            return
        description = webrtc.get_property("local-description")
        offer = description.sdp.as_text()
        self.session = Session(self.endpoint, self.token, offer)
        _, sdp = GstSdp.SDPMessage.new_from_text(self.session.answer)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        webrtc.emit("set-remote-description", answer, None)

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
    if publisher.session:
        publisher.session.end()
    publisher.pipeline.set_state(Gst.State.NULL)


main()
