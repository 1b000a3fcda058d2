package wording

import "github.com/stepwatch/stepwatch/steps/regex"

// libraryWords are what libraries say about an answer that breaks its protocol, and what an operator reads instead. The first
// rule that matches counts.
var libraryWords = []struct {
	theirs *regex.Regexp
	ours   string
}{
	// Package crypto/tls: an alert that this side sends, or the server has sent (RFC 8446 section 6).
	{regex.Lazy(`local error: tls: bad record MAC`), "a TLS record fails its integrity check (bad_record_mac, RFC 8446 section 6.2)"},
	{regex.Lazy(`local error: tls: (.+)`), `what the server sent breaks the rules of TLS: $1 (RFC 8446 section 6)`},
	{regex.Lazy(`remote error: tls: (.+)`), `the server ended it with the TLS alert "$1" (RFC 8446 section 6)`},
	{regex.Lazy(`tls: first record does not look like a TLS handshake`), "the server's answer is not TLS"},
	{regex.Lazy(`tls: received record with version (\w+) when expecting version \w+`), "in the place of a TLS record came something else (with the version 0x$1)"},
	{regex.Lazy(`tls: oversized record received with length (\d+)`), "a TLS record has $1 bytes, more than TLS permits (RFC 8446 section 5.2)"},
	{regex.Lazy(`tls: unsupported SSLv2 handshake received`), "the server's answer is SSL 2.0"},
	{regex.Lazy(`^(?:tls|x509): (failed to .*: )x509: (.+)`), "$1$2"},
	{regex.Lazy(`(^|: )tls: `), "$1"},

	// Package net/http over HTTP/2 (RFC 9113 section 7).
	{regex.Lazy(`connection error: ([A-Z_]+)`), "the server breaks the rules of HTTP/2 ($1, RFC 9113 section 7)"},
	{regex.Lazy(`stream error: stream ID \d+; ([A-Z_]+); received from peer`), "the server ended the HTTP/2 stream ($1, RFC 9113 section 7)"},
	{regex.Lazy(`stream error: stream ID \d+; ([A-Z_]+); (.+)`), "the answer breaks the rules of HTTP/2 ($1, RFC 9113 section 7): $2"},
	{regex.Lazy(`stream error: stream ID \d+; ([A-Z_]+)`), "the answer breaks the rules of HTTP/2 ($1, RFC 9113 section 7)"},
	{regex.Lazy(`(?:http2: failed reading the frame payload: )?http2: frame too large.*`), "a frame of HTTP/2 is larger than permitted (RFC 9113 section 4.2)"},
	{regex.Lazy(`http2: server sent GOAWAY and closed the connection; LastStreamID=\d+, ErrCode=(\w+).*`), "the server closed the HTTP/2 connection ($1, RFC 9113 section 6.8)"},
	{regex.Lazy(`http2: (?:Transport |server )?(.+)`), "HTTP/2: $1"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: malformed MIME header(?: line)?: (.+)`), "a line of the answer's header cannot be read (RFC 9112 section 5): $1"},
	{regex.Lazy(`net/http: (?:HTTP/1\.x transport connection broken: net/http: )?server response headers exceeded (\d+) bytes.*`), "the header of the answer has more than $1 bytes, the limit"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: malformed HTTP (version|status code|response) (.+)`), "the answer is not HTTP/1.1: its $1 is $2 (RFC 9112 section 4)"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: (.+)`), "the answer is not HTTP/1.1: $1"},
	{regex.Lazy(`net/http: (.+)`), "HTTP: $1"},

	// Package golang.org/x/crypto/ssh.
	{regex.Lazy(`ssh: handshake failed: (?:cipher: message authentication failed|ssh: MAC failure)`), "the SSH handshake failed: a packet fails its integrity check (RFC 4253 section 6.4)"},
	{regex.Lazy(`ssh: handshake failed: (?:ssh: )?short read`), "the SSH handshake failed: a message is cut off (RFC 4253 section 6)"},
	{regex.Lazy(`ssh: handshake failed: EOF`), "the server closed the connection during the SSH handshake"},
	{regex.Lazy(`ssh: handshake failed: (?:ssh: )?(.+)`), "the SSH handshake failed: $1"},
	{regex.Lazy(`cipher: message authentication failed|ssh: MAC failure`), "a packet fails its integrity check (RFC 4253 section 6.4)"},
	{regex.Lazy(`(^|: )ssh: `), "$1"},
}

// Library returns text with the words of libraries about TLS, HTTP and SSH replaced by those of the field.
func Library(text string) string {
	for _, w := range libraryWords {
		if w.theirs.MatchString(text) {
			return w.theirs.ReplaceAllString(text, w.ours)
		}
	}
	return text
}
