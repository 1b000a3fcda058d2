package wording

import "testing"

func TestLibrary(t *testing.T) {
	for theirs, want := range map[string]string{
		"local error: tls: bad record MAC":                                                "a TLS record fails its integrity check (bad_record_mac, RFC 8446 section 6.2)",
		"local error: tls: unexpected message":                                            "what the server sent breaks the rules of TLS: unexpected message (RFC 8446 section 6)",
		"remote error: tls: handshake failure":                                            `the server ended it with the TLS alert "handshake failure" (RFC 8446 section 6)`,
		"tls: first record does not look like a TLS handshake":                            "the server's answer is not TLS",
		"tls: received record with version 103 when expecting version 303":                "in the place of a TLS record came something else (with the version 0x103)",
		"tls: oversized record received with length 20527":                                "a TLS record has 20527 bytes, more than TLS permits (RFC 8446 section 5.2)",
		"tls: failed to parse certificate from server: x509: malformed tbs certificate":   "failed to parse certificate from server: malformed tbs certificate",
		"tls: server selected unsupported protocol version 305":                           "server selected unsupported protocol version 305",
		"connection error: PROTOCOL_ERROR":                                                "the server breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7)",
		"stream error: stream ID 1; PROTOCOL_ERROR":                                       "the answer breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7)",
		"stream error: stream ID 1; PROTOCOL_ERROR; invalid header field value for \"x\"": "the answer breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7): invalid header field value for \"x\"",
		"stream error: stream ID 1; INTERNAL_ERROR; received from peer":                   "the server ended the HTTP/2 stream (INTERNAL_ERROR, RFC 9113 section 7)",
		"http2: frame too large":                                                          "a frame of HTTP/2 is larger than permitted (RFC 9113 section 4.2)",
		"http2: response header list larger than advertised limit":                        "HTTP/2: response header list larger than advertised limit",
		"net/http: HTTP/1.x transport connection broken: malformed MIME header line: x":   "a line of the answer's header cannot be read (RFC 9112 section 5): x",
		"ssh: handshake failed: cipher: message authentication failed":                    "the SSH handshake failed: a packet fails its integrity check (RFC 4253 section 6.4)",
		"ssh: handshake failed: ssh: invalid packet length, packet too large":             "the SSH handshake failed: invalid packet length, packet too large",
		"ssh: handshake failed: EOF":                                                      "the server closed the connection during the SSH handshake",
		"connection refused: nothing listens on that port":                                "connection refused: nothing listens on that port",
	} {
		if got := Library(theirs); got != want {
			t.Errorf("%q: got %q, want %q", theirs, got, want)
		}
	}
}
