package wording

import "github.com/stepwatch/stepwatch/steps/regex"

// libraryWords are what libraries say about an answer that breaks its protocol, and what an operator reads instead. Every rule
// is applied, in this order.
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
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: malformed MIME header(?: initial line| line)?: (?:missing colon: )?(.+)`), "a line of the answer's header cannot be read (RFC 9112 section 5): $1"},
	{regex.Lazy(`net/http: (?:HTTP/1\.x transport connection broken: net/http: )?server response headers exceeded (\d+) bytes.*`), "the header of the answer has more than $1 bytes, the limit"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: malformed HTTP (version|status code|response) (.+)`), "the answer is not HTTP/1.1: its $1 is $2 (RFC 9112 section 4)"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: (?:bad Content-Length|invalid empty Content-Length|http: message cannot contain multiple Content-Length headers; got) (.+)`),
		"the answer is not HTTP/1.1: its Content-Length is $1 (RFC 9112 section 6.3)"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: (?:unsupported|too many) transfer encodings?:? (.+)`), "the answer is not HTTP/1.1: its Transfer-Encoding is $1, wanted chunked (RFC 9112 section 6.1)"},
	{regex.Lazy(`net/http: HTTP/1\.x transport connection broken: (?:http: )?(.+)`), "the answer is not HTTP/1.1: $1"},
	{regex.Lazy(`malformed chunked encoding|invalid byte in chunk length|empty hex number for chunk length|http chunk length too large|chunked encoding contains too much non-data|chunked line ends with bare LF|invalid CR in chunked line`),
		"a chunk of the answer cannot be read (RFC 9112 section 7.1)"},
	{regex.Lazy(`http: suspiciously long trailer after chunked body|http: unexpected EOF reading trailer|(?:bad trailer|invalid Trailer) key "[^"]*"`), "the trailer of the answer cannot be read (RFC 9112 section 7.1.2)"},
	{regex.Lazy(`net/http: (.+)`), "HTTP: $1"},

	// Package golang.org/x/crypto/ssh.
	{regex.Lazy(`cipher: message authentication failed|ssh: MAC failure`), "a packet fails its integrity check (RFC 4253 section 6.4)"},
	{regex.Lazy(`ssh: (?:max packet length exceeded|invalid packet length, packet too (?:large|small)|packet too large|wrong packet length|incoming packet exceeds maximum payload size)`), "a packet has an invalid length (RFC 4253 section 6.1)"},
	{regex.Lazy(`ssh: (?:empty|zero length) packet`), "a packet is empty (RFC 4253 section 6)"},
	{regex.Lazy(`ssh: (?:illegal padding \d+|padding \d+ too large)`), "a packet has invalid padding (RFC 4253 section 6)"},
	{regex.Lazy(`(ssh: handshake failed: |ssh: )short read`), "${1}a message is cut off (RFC 4253 section 6)"},
	{regex.Lazy(`ssh: (?:unmarshal error for field \w+ of type \w+.*|parse error in message type \d+)|failed to unmarshal ping@openssh\.com message: .*`), "a message cannot be read (RFC 4251 section 5)"},
	{regex.Lazy(`ssh: unexpected message type (\d+) (?:\(expected .+\)|on channel \d+)`), "message $1 is out of order (RFC 4250 section 4.1)"},
	{regex.Lazy(`ssh: (?:first packet should be msg\w+|got bogus newkeys message|sequence number != 1 when strict KEX mode requested)`), "the key exchange is out of order (RFC 4253 section 7)"},
	{regex.Lazy(`ssh: unexpected (?:packet in response to channel open|response to (?:channel )?request): .*`), "the answer to a request is another message (RFC 4254 section 5)"},
	{regex.Lazy(`ssh: (?:duplicate response received for channel|channel response message received on inbound channel)`), "a request is answered twice, or was not made (RFC 4254 section 5)"},
	{regex.Lazy(`ssh: invalid channel \d+`), "a message is for a channel that is not open (RFC 4254 section 5)"},
	{regex.Lazy(`ssh: (?:remote side wrote too much|invalid window update for \d+ bytes|invalid MaxPacketSize \d+ from peer)`), "the server breaks the rules of windows (RFC 4254 section 5.2)"},
	{regex.Lazy(`ssh: (?:junk character in version line|overflow reading version string)`), "the server's first line is not that of SSH (RFC 4253 section 4.2)"},
	{regex.Lazy(`ssh: (?:elliptic\.Unmarshal failure|public key not on curve|DH parameter out of bounds|peer's \S+ (?:public value|encapsulation key) .*)`), "the server's part of the key exchange is invalid (RFC 4253 section 8)"},
	{regex.Lazy(`ssh: (?:signature did not verify|signature parse error)`), "the signature by the server's key is invalid (RFC 4253 section 8)"},
	{regex.Lazy(`ssh: malformed exit-status request`), "the exit status cannot be read (RFC 4254 section 6.10)"},
	{regex.Lazy(`ssh: handshake failed: EOF`), "the server closed the connection during the SSH handshake"},
	{regex.Lazy(`ssh: handshake failed: (?:ssh: )?`), "the SSH handshake failed: "},
	{regex.Lazy(`(^|: )ssh: `), "$1"},

	// Package golang.org/x/net/idna.
	{regex.Lazy(`idna: disallowed rune (U\+[0-9A-F]+)`), "an international name cannot have $1 (RFC 5892)"},
	{regex.Lazy(`idna: invalid label (.+)`), "its label $1 is not one of international names (RFC 5891)"},
}

// Library returns text with the words of libraries about TLS, HTTP, SSH and international names replaced by those of the field.
func Library(text string) string {
	for _, w := range libraryWords {
		text = w.theirs.ReplaceAllString(text, w.ours)
	}
	return text
}
