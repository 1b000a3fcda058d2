package wording

import "testing"

func TestLibrary(t *testing.T) {
	for theirs, want := range map[string]string{
		"local error: tls: bad record MAC":                                                                                                "a TLS record fails its integrity check (bad_record_mac, RFC 8446 section 6.2)",
		"local error: tls: unexpected message":                                                                                            "what the server sent breaks the rules of TLS: unexpected message (RFC 8446 section 6)",
		"remote error: tls: handshake failure":                                                                                            `the server ended it with the TLS alert "handshake failure" (RFC 8446 section 6)`,
		"tls: first record does not look like a TLS handshake":                                                                            "the server's answer is not TLS",
		"tls: received record with version 103 when expecting version 303":                                                                "in the place of a TLS record came something else (with the version 0x103)",
		"tls: oversized record received with length 20527":                                                                                "a TLS record has 20527 bytes, more than TLS permits (RFC 8446 section 5.2)",
		"tls: failed to parse certificate from server: x509: malformed tbs certificate":                                                   "failed to parse certificate from server: malformed tbs certificate",
		"tls: server selected unsupported protocol version 305":                                                                           "server selected unsupported protocol version 305",
		"connection error: PROTOCOL_ERROR":                                                                                                "the server breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7)",
		"stream error: stream ID 1; PROTOCOL_ERROR":                                                                                       "the answer breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7)",
		"stream error: stream ID 1; PROTOCOL_ERROR; invalid header field value for \"x\"":                                                 "the answer breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7): invalid header field value for \"x\"",
		"stream error: stream ID 1; INTERNAL_ERROR; received from peer":                                                                   "the server ended the HTTP/2 stream (INTERNAL_ERROR, RFC 9113 section 7)",
		"http2: frame too large":                                                                                                          "a frame of HTTP/2 is larger than permitted (RFC 9113 section 4.2)",
		"http2: response header list larger than advertised limit":                                                                        "HTTP/2: response header list larger than advertised limit",
		"net/http: HTTP/1.x transport connection broken: malformed MIME header line: x":                                                   "a line of the answer's header cannot be read (RFC 9112 section 5): x",
		"net/http: HTTP/1.x transport connection broken: malformed MIME header initial line: \"  A: b\"":                                  "a line of the answer's header cannot be read (RFC 9112 section 5): \"  A: b\"",
		"net/http: HTTP/1.x transport connection broken: malformed MIME header: missing colon: \"A\"":                                     "a line of the answer's header cannot be read (RFC 9112 section 5): \"A\"",
		"net/http: HTTP/1.x transport connection broken: bad Content-Length \"-1\"":                                                       "the answer is not HTTP/1.1: its Content-Length is \"-1\" (RFC 9112 section 6.3)",
		"net/http: HTTP/1.x transport connection broken: http: message cannot contain multiple Content-Length headers; got [\"1\" \"2\"]": "the answer is not HTTP/1.1: its Content-Length is [\"1\" \"2\"] (RFC 9112 section 6.3)",
		"net/http: HTTP/1.x transport connection broken: unsupported transfer encoding: \"x\"":                                            "the answer is not HTTP/1.1: its Transfer-Encoding is \"x\", wanted chunked (RFC 9112 section 6.1)",
		"invalid byte in chunk length":                                                                                                    "a chunk of the answer cannot be read (RFC 9112 section 7.1)",
		"http: unexpected EOF reading trailer":                                                                                            "the trailer of the answer cannot be read (RFC 9112 section 7.1.2)",
		"open a session: ssh: max packet length exceeded":                                                                                 "open a session: a packet has an invalid length (RFC 4253 section 6.1)",
		"ssh: handshake failed: ssh: unmarshal error for field P of type kexDHReplyMsg":                                                   "the SSH handshake failed: a message cannot be read (RFC 4251 section 5)",
		"ssh: handshake failed: ssh: unexpected message type 3 (expected one of [20])":                                                    "the SSH handshake failed: message 3 is out of order (RFC 4250 section 4.1)",
		"open a session: ssh: unexpected packet in response to channel open: <nil>":                                                       "open a session: the answer to a request is another message (RFC 4254 section 5)",
		"ssh: handshake failed: ssh: overflow reading version string":                                                                     "the SSH handshake failed: the server's first line is not that of SSH (RFC 4253 section 4.2)",
		"ssh: handshake failed: ssh: elliptic.Unmarshal failure":                                                                          "the SSH handshake failed: the server's part of the key exchange is invalid (RFC 4253 section 8)",
		"idna: disallowed rune U+005F":                                                                                                    "an international name cannot have U+005F (RFC 5892)",
		"idna: invalid label \"xn--a\"":                                                                                                   "its label \"xn--a\" is not one of international names (RFC 5891)",
		"ssh: handshake failed: cipher: message authentication failed":                                                                    "the SSH handshake failed: a packet fails its integrity check (RFC 4253 section 6.4)",
		"ssh: handshake failed: ssh: invalid packet length, packet too large":                                                             "the SSH handshake failed: a packet has an invalid length (RFC 4253 section 6.1)",
		"ssh: handshake failed: EOF":                                                                                                      "the server closed the connection during the SSH handshake",
		"connection refused: nothing listens on that port":                                                                                "connection refused: nothing listens on that port",
	} {
		if got := Library(theirs); got != want {
			t.Errorf("%q: got %q, want %q", theirs, got, want)
		}
	}
}
