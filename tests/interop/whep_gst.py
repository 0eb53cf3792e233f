"""Plays by WHEP with GStreamer's webrtcbin until it has seen and heard enough, and tells what it was.

    whep_gst.py ENDPOINT TOKEN FRAMES
"""
import json
import sys
import time

from seen import Seen
from webrtcbin import GLib, Gst, GstWebRTC, Offerer

VIDEO = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000,rtcp-fb-nack-pli=true"
# As whepclientsrc: no channels.
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000"
SINKS = {
    "video": "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink emit-signals=true sync=false",
    "audio": "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,channels=1 ! appsink name=sink emit-signals=true "
    "sync=false",
}


class Player:
    def __init__(self, endpoint, token, seen, loop):
        self.seen, self.loop = seen, loop
        self.pipeline = Gst.Pipeline.new(None)
        self.webrtc = Gst.ElementFactory.make("webrtcbin", None)
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        self.offerer = Offerer(self.webrtc, endpoint, token)
        self.webrtc.connect("pad-added", self.pad_added)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        for caps in (AUDIO, VIDEO):
            direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
            self.webrtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        self.offerer.offer()

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
    player.offerer.session.end()
    player.pipeline.set_state(Gst.State.NULL)
    print(json.dumps(player.seen.report()), flush=True)


main()
