package wording

import "regexp"

// libraryWords are what libraries say about an answer that breaks its protocol, and what an operator reads instead. The first
// rule that matches counts.
var libraryWords = []struct {
	theirs *regexp.Regexp
	ours   string
}{
	// Package crypto/tls: an alert that this side sends, or the server has sent (RFC 8446 section 6).
	{regexp.MustCompile(`local error: tls: bad record MAC`), "a TLS record fails its integrity check (bad_record_mac, RFC 8446 section 6.2)"},
	{regexp.MustCompile(`local error: tls: (.+)`), `what the server sent breaks the rules of TLS: $1 (RFC 8446 section 6)`},
	{regexp.MustCompile(`remote error: tls: (.+)`), `the server ended it with the TLS alert "$1" (RFC 8446 section 6)`},
	{regexp.MustCompile(`tls: first record does not look like a TLS handshake`), "the server's answer is not TLS"},
	{regexp.MustCompile(`tls: received record with version (\w+) when expecting version \w+`), "in the place of a TLS record came something else (with the version 0x$1)"},
	{regexp.MustCompile(`tls: oversized record received with length (\d+)`), "a TLS record has $1 bytes, more than TLS permits (RFC 8446 section 5.2)"},
	{regexp.MustCompile(`tls: unsupported SSLv2 handshake received`), "the server's answer is SSL 2.0"},
	{regexp.MustCompile(`^(?:tls|x509): (failed to .*: )x509: (.+)`), "$1$2"},
	{regexp.MustCompile(`(^|: )tls: `), "$1"},

	// Package net/http over HTTP/2 (RFC 9113 section 7).
	{regexp.MustCompile(`connection error: ([A-Z_]+)`), "the server breaks the rules of HTTP/2 ($1, RFC 9113 section 7)"},
	{regexp.MustCompile(`stream error: stream ID \d+; ([A-Z_]+); received from peer`), "the server ended the HTTP/2 stream ($1, RFC 9113 section 7)"},
	{regexp.MustCompile(`stream error: stream ID \d+; ([A-Z_]+); (.+)`), "the answer breaks the rules of HTTP/2 ($1, RFC 9113 section 7): $2"},
	{regexp.MustCompile(`stream error: stream ID \d+; ([A-Z_]+)`), "the answer breaks the rules of HTTP/2 ($1, RFC 9113 section 7)"},
	{regexp.MustCompile(`(?:http2: failed reading the frame payload: )?http2: frame too large.*`), "a frame of HTTP/2 is larger than permitted (RFC 9113 section 4.2)"},
	{regexp.MustCompile(`http2: server sent GOAWAY and closed the connection; LastStreamID=\d+, ErrCode=(\w+).*`), "the server closed the HTTP/2 connection ($1, RFC 9113 section 6.8)"},
	{regexp.MustCompile(`http2: (?:Transport |server )?(.+)`), "HTTP/2: $1"},
	{regexp.MustCompile(`net/http: HTTP/1\.x transport connection broken: malformed MIME header(?: line)?: (.+)`), "a line of the answer's header cannot be read (RFC 9112 section 5): $1"},
	{regexp.MustCompile(`net/http: (?:HTTP/1\.x transport connection broken: net/http: )?server response headers exceeded (\d+) bytes.*`), "the header of the answer has more than $1 bytes, the limit"},
	{regexp.MustCompile(`net/http: HTTP/1\.x transport connection broken: malformed HTTP (version|status code|response) (.+)`), "the answer is not HTTP/1.1: its $1 is $2 (RFC 9112 section 4)"},
	{regexp.MustCompile(`net/http: HTTP/1\.x transport connection broken: (.+)`), "the answer is not HTTP/1.1: $1"},
	{regexp.MustCompile(`net/http: (.+)`), "HTTP: $1"},

	// Package golang.org/x/crypto/ssh.
	{regexp.MustCompile(`ssh: handshake failed: (?:cipher: message authentication failed|ssh: MAC failure)`), "the SSH handshake failed: a packet fails its integrity check (RFC 4253 section 6.4)"},
	{regexp.MustCompile(`ssh: handshake failed: (?:ssh: )?short read`), "the SSH handshake failed: a message is cut off (RFC 4253 section 6)"},
	{regexp.MustCompile(`ssh: handshake failed: EOF`), "the server closed the connection during the SSH handshake"},
	{regexp.MustCompile(`ssh: handshake failed: (?:ssh: )?(.+)`), "the SSH handshake failed: $1"},
	{regexp.MustCompile(`cipher: message authentication failed|ssh: MAC failure`), "a packet fails its integrity check (RFC 4253 section 6.4)"},
	{regexp.MustCompile(`(^|: )ssh: `), "$1"},
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
