"""Plays by WHEP with GStreamer's webrtcbin until it has seen and heard enough, and tells what it was.

    whep_gst.py ENDPOINT TOKEN FRAMES
"""
import json
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from http_session import Session  # noqa: E402
from seen import Seen  # noqa: E402

VIDEO = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000,rtcp-fb-nack-pli=true"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2"
SINKS = {
    "video": "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink emit-signals=true sync=false",
    "audio": "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,channels=1 ! appsink name=sink emit-signals=true "
    "sync=false",
}


class Player:
    def __init__(self, endpoint, token, seen, loop):
        self.endpoint, self.token, self.session, self.seen, self.loop = endpoint, token, None, seen, loop
        self.pipeline = Gst.Pipeline.new(None)
        self.webrtc = Gst.ElementFactory.make("webrtcbin", None)
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        self.webrtc.connect("notify::ice-gathering-state", self.gathered)
        self.webrtc.connect("pad-added", self.pad_added)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        for caps in (AUDIO, VIDEO):
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.webrtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None, None))

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

    def pad_added(self, _, pad):
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        decode = Gst.parse_bin_from_description(SINKS[kind], True)
        decode.get_by_name("sink").connect("new-sample", self.sample, kind)
        self.pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    def sample(self, sink, kind):
        sample = sink.emit("pull-sample")
        caps, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        if kind == "video":
            width, height = caps.get_int("width")[1], caps.get_int("height")[1]
            middle = (height // 2 * ((width * 3 + 3) // 4 * 4)) + width // 2 * 3
            self.seen.picture(width, height, tuple(data[middle : middle + 3]))
        else:
            self.seen.sound(data, caps.get_int("rate")[1])
        if self.seen.is_enough():
            GLib.idle_add(self.loop.quit)
        return Gst.FlowReturn.OK


def main():
    Gst.init(None)
    endpoint, token, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    loop = GLib.MainLoop()
    player = Player(endpoint, token, Seen(time.monotonic, frames), loop)
    player.start()
    loop.run()
    player.session.end()
    player.pipeline.set_state(Gst.State.NULL)
    print(json.dumps(player.seen.report()), flush=True)


main()
