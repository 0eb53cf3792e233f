"""A session of WHIP (RFC 9725) or WHEP over HTTP, with nothing but Python's own library."""
import json
import urllib.error
import urllib.parse
import urllib.request


class Refused(Exception):
    """A problem document."""

    def __init__(self, status, problem):
        super().__init__(f"{status} {problem.get('code')}")
        self.status, self.problem = status, problem


def request(method, url, token, body=None, headers=None):
    """Status, headers and text of an answer; `Refused` from 400 on."""
    headers = {"Authorization": f"Bearer {token}", **(headers or {})}
    asked = urllib.request.Request(url, data=body.encode() if body else None, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        raise Refused(error.code, json.loads(error.read() or b"{}")) from None


class Session:
    """Made by an offer; `answer` is what came back."""

    def __init__(self, endpoint, token, offer):
        status, headers, self.answer = request("POST", endpoint, token, offer, {"Content-Type": "application/sdp"})
        assert status == 201, status
        self.url, self.etag, self.token = urllib.parse.urljoin(endpoint, headers["Location"]), headers["ETag"], token

    def end(self):
        request("DELETE", self.url, self.token)
