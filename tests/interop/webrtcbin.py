"""A webrtcbin that makes an offer, and has a session answer it: what publishing and playing with GStreamer have in common."""
import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from http_session import Session  # noqa: E402

__all__ = ["GLib", "Gst", "GstWebRTC", "Offerer"]


class Offerer:
    """Of one `webrtcbin`. `session` is there once the server answered."""

    def __init__(self, webrtc, endpoint, token):
        self.webrtc, self.endpoint, self.token, self.session = webrtc, endpoint, token, None
        webrtc.connect("notify::ice-gathering-state", self.gathered)

    def offer(self, *_):
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
