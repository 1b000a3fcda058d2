package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const seen = "<p>seen by a visitor</p>"

// headed returns a response with this status line and more lines in its header.
func headed(status string, lines ...string) string {
	return status + "\r\n" + strings.Join(append(lines, "Content-Type: text/html", fmt.Sprintf("Content-Length: %d", len(seen)), "Connection: close"), "\r\n") + "\r\n\r\n" + seen
}

// coded returns a response with this Content-Encoding.
func coded(encoding, body string) string {
	return raw(body, "Content-Type: text/html", "Content-Encoding: "+encoding)
}

func chunked(status, header, begin, body, end string) string {
	return status + "\r\nContent-Type: text/html\r\n" + header + "\r\n\r\n" + begin + body + end
}

// shownResponses are responses that violate a standard or are rare, and that both engines show.
var shownResponses = []struct{ name, answer string }{
	{"no phrase", headed("HTTP/1.1 200")}, {"HTTP/1.0", headed("HTTP/1.0 200 OK")}, {"lower case", headed("http/1.1 200 OK")}, {"HTTP/1.2", headed("HTTP/1.2 200 OK")},
	{"no minor version", headed("HTTP/1 200 OK")}, {"no version", headed("HTTP 200 OK")}, {"blanks", headed("HTTP/1.1  200  OK")}, {"tabs", headed("HTTP/1.1\t200\tOK")},
	{"no code", headed("HTTP/1.1 OK")}, {"a code with a dot", headed("HTTP/1.1 200.1 OK")}, {"a code and a phrase in one", headed("HTTP/1.1 200OK")}, {"a phrase in Latin-1", headed("HTTP/1.1 200 O\xdc")},
	{"an empty line before it", "\r\n" + headed("HTTP/1.1 200 OK")}, {"line feeds alone", strings.ReplaceAll(headed("HTTP/1.1 200 OK"), "\r\n", "\n")}, {"a carriage return alone", headed("HTTP/1.1 200 OK", "A: b\rX: y")},
	{"a folded field", headed("HTTP/1.1 200 OK", "X-A: b", "  c")}, {"a fold of nothing", headed("HTTP/1.1 200 OK", " c: d")}, {"a line without a colon", headed("HTTP/1.1 200 OK", "whatever")},
	{"a blank before the colon", headed("HTTP/1.1 200 OK", "X-A : b")}, {"a blank in a name", headed("HTTP/1.1 200 OK", "X A: b")}, {"no name", headed("HTTP/1.1 200 OK", ": b")},
	{"a name in UTF-8", headed("HTTP/1.1 200 OK", "Ä: b")}, {"a control character", headed("HTTP/1.1 200 OK", "X-A: b\x01c")}, {"a value in Latin-1", headed("HTTP/1.1 200 OK", "X-A: \xfc")},
	{"one length twice", headed("HTTP/1.1 200 OK", fmt.Sprintf("Content-Length: %d", len(seen)))}, {"a length with a sign", chunked("HTTP/1.1 200 OK", "Content-Length: +14", "", seen, "")},
	{"a length in words", chunked("HTTP/1.1 200 OK", "Content-Length: abc", "", seen, "")}, {"no length", chunked("HTTP/1.1 200 OK", "Content-Length:", "", seen, "")},
	{"a length beyond all", chunked("HTTP/1.1 200 OK", "Content-Length: 99999999999999999999", "", seen, "")}, {"a length and chunks", chunked("HTTP/1.1 200 OK", "Content-Length: 5\r\nTransfer-Encoding: chunked", "18\r\n", seen, "\r\n0\r\n\r\n")},
	{"chunks twice", chunked("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "18\r\n", seen, "\r\n0\r\n\r\n")},
	{"gzip and chunks", chunked("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked", "18\r\n", seen, "\r\n0\r\n\r\n")}, {"identity", chunked("HTTP/1.1 200 OK", "Transfer-Encoding: identity", "", seen, "")},
	{"chunks with line feeds alone", chunked("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "18\n", seen, "\n0\n\n")},
	{"chunks with extensions", chunked("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "18 ; x=\"y\"\r\n", seen, "\r\n000;z\r\nX-Trailer: y\r\n\r\n")},
	{"no type", "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + seen}, {"a type that is none", "HTTP/1.1 200 OK\r\nContent-Type: html\r\nContent-Length: 24\r\n\r\n" + seen},
	{"a charset twice", "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8; charset=latin1\r\nContent-Length: 24\r\n\r\n" + seen},
	{"one location twice", "HTTP/1.1 302 Found\r\nLocation: /seen\r\nLocation: /seen\r\nContent-Length: 0\r\n\r\n"}, {"early hints", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + headed("HTTP/1.1 200 OK")},

	{"UTF-8", coded("UTF-8", seen)}, {"none", coded("none", seen)}, {"7bit", coded("7bit", seen)}, {"8bit", coded("8bit", seen)}, {"binary", coded("binary", seen)}, {"identity coding", coded("identity", seen)},
	{"empty", coded("", seen)}, {"two that are none", coded("utf-8, none", seen)}, {"quoted-printable", coded("quoted-printable", seen)}, {"a media type", coded("text/html", seen)}, {"aws-chunked", coded("aws-chunked", seen)},
	{"gzip and identity, plain", coded("gzip, identity", seen)}, {"UTF-8 and gzip, plain", coded("UTF-8, gzip", seen)}, {"gzip", coded("gzip", gzipped(seen))}, {"x-gzip", coded("x-gzip", gzipped(seen))}, {"GZIP", coded("GZIP", gzipped(seen))},
	{"gzip twice", coded("gzip, gzip", gzipped(gzipped(seen)))}, {"gzip in two fields", coded("gzip\r\nContent-Encoding: gzip", gzipped(gzipped(seen)))}, {"deflate", coded("deflate", zlibbed(seen))}, {"deflate without zlib", coded("deflate", deflated(seen))},
	{"deflate and gzip", coded("deflate, gzip", gzipped(zlibbed(seen)))}, {"bytes after gzip", coded("gzip", gzipped(seen)+"more")}, {"gzip and nothing, plain", coded("gzip, ", seen)},
}

// refusedResponses are responses that neither engine shows, with the words of each.
var refusedResponses = []struct{ name, answer, want, inBrowser string }{
	{"a NUL", headed("HTTP/1.1 200 OK", "X-A: b\x00c"), `the response is malformed: its header contains a NUL (RFC 9110 section 5.5): "X-A: b\x00c\r\n"`, "the response is malformed: it does not begin with HTTP/ (RFC 9112 section 4), or its header contains a NUL (RFC 9110 section 5.5) (net::ERR_INVALID_HTTP_RESPONSE)"},
	{"two lengths", headed("HTTP/1.1 200 OK", "Content-Length: 13"), `the response is malformed: it has two lengths, "13" and "24" (Content-Length, RFC 9112 section 6.3)`, "the response is malformed: it has two lengths (Content-Length, RFC 9112 section 6.3) (net::ERR_RESPONSE_HEADERS_MULTIPLE_CONTENT_LENGTH)"},
	{"two locations", "HTTP/1.1 302 Found\r\nLocation: /seen\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n", `the response is malformed: it has two values of Location, "/seen" and "/a" (RFC 9110 section 10.2.2)`, "the response is malformed: it has two values of Location (RFC 9110 section 10.2.2) (net::ERR_RESPONSE_HEADERS_MULTIPLE_LOCATION)"},
	{"two dispositions", headed("HTTP/1.1 200 OK", "Content-Disposition: inline", "Content-Disposition: inline; filename=x"), `the response is malformed: it has two values of Content-Disposition, "inline" and "inline; filename=x" (RFC 6266 section 4; a file name with a comma must be in quotes)`, "the response is malformed: it has two values of Content-Disposition (RFC 6266 section 4; a file name with a comma must be in quotes) (net::ERR_RESPONSE_HEADERS_MULTIPLE_CONTENT_DISPOSITION)"},
	{"a disposition with a comma", headed("HTTP/1.1 200 OK", "Content-Disposition: attachment; filename=a,b.pdf"), `the response is malformed: it has two values of Content-Disposition, "attachment; filename=a" and "b.pdf" (RFC 6266 section 4; a file name with a comma must be in quotes)`, "the response is malformed: it has two values of Content-Disposition (RFC 6266 section 4; a file name with a comma must be in quotes) (net::ERR_RESPONSE_HEADERS_MULTIPLE_CONTENT_DISPOSITION)"},
	{"gzip on a plain body", coded("gzip", seen), "the body cannot be decompressed: its Content-Encoding is not how the data is compressed, so browsers show nothing", "the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)"},
	{"deflate on a plain body", coded("deflate", seen), "the body cannot be decompressed: the compressed data is damaged at byte 5 (RFC 1951)", "the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)"},
	{"gzip once of two", coded("gzip, gzip", gzipped(seen)), "the body cannot be decompressed: its Content-Encoding is not how the data is compressed, so browsers show nothing", "the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)"},
	{"a parameter", coded("gzip; q=1", seen), `the body cannot be decompressed: its Content-Encoding "gzip; q=1" is not a list of codings (RFC 9110 section 8.4)`, "the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)"},
}

// TestResponsesOfBothEngines shows the same responses, byte for byte, to both engines.
func TestResponsesOfBothEngines(t *testing.T) {
	server := newRawServer(t)
	s := server.site("www.raw.test")
	server.answers["/seen"] = raw(seen, "Content-Type: text/html")
	for i, c := range shownResponses {
		server.answers[fmt.Sprintf("/shown%d", i)] = c.answer
	}
	for i, c := range refusedResponses {
		server.answers[fmt.Sprintf("/refused%d", i)] = c.answer
	}
	visit := func(t *testing.T, inBrowser bool) {
		for begin := 0; begin < len(shownResponses); begin += 10 {
			var text strings.Builder
			for i := begin; i < min(begin+10, len(shownResponses)); i++ {
				fmt.Fprintf(&text, "I go to \"http://www.raw.test/shown%d\"\nI should see \"seen by a visitor\"\n", i)
			}
			o := s.run(t, text.String())
			for i, step := range o.Steps {
				if step.Err != nil {
					t.Errorf("in a browser %t, %s: %v", inBrowser, shownResponses[begin+i/2].name, step.Err)
				}
			}
		}
		for i, c := range refusedResponses {
			want := c.want
			if inBrowser {
				want = c.inBrowser
			}
			fixture.Expect(t, s.run(t, fmt.Sprintf("I go to http://www.raw.test/refused%d", i)), fmt.Sprintf("protocol web: GET http://www.raw.test/refused%d: %s", i, want))
		}
	}
	visit(t, false)
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = 1 })
	visit(t, true)
}
