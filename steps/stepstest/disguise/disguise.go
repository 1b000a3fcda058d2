// Package disguise writes a secret in the forms in which servers, pages and programs repeat it, and looks for it in an
// output. It shares no code with package redact, which it tests.
package disguise

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"mime"
	"mime/quotedprintable"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Form is a secret in one form.
type Form struct {
	Name string
	Text string
}

// each returns the characters of text, each written by write, with between in between.
func each(text, between string, write func(i int, r rune) string) string {
	written := make([]string, 0, len(text))
	for i, r := range []rune(text) {
		written = append(written, write(i, r))
	}
	return strings.Join(written, between)
}

// same writes a character as it is.
func same(_ int, r rune) string { return string(r) }

// bytesAs writes each byte of text.
func bytesAs(text, format, between string) string {
	written := make([]string, 0, len(text))
	for _, c := range []byte(text) {
		written = append(written, fmt.Sprintf(format, c))
	}
	return strings.Join(written, between)
}

// units returns text in UTF-16.
func units(text string, bigEndian bool) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		if bigEndian {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out
}

// latin1 returns text in ISO 8859-1, and wrong UTF-8 that is taken for it.
func latin1(text string) (proper, wrong string) {
	var out []byte
	for _, r := range text {
		if r > 0xff {
			out = nil
			break
		}
		out = append(out, byte(r))
	}
	var twice []rune
	for _, c := range []byte(text) {
		twice = append(twice, rune(c))
	}
	return string(out), string(twice)
}

// wrapped breaks text into lines of width bytes.
func wrapped(text string, width int, end string) string {
	var out strings.Builder
	for len(text) > width {
		out.WriteString(text[:width] + end)
		text = text[width:]
	}
	return out.String() + text
}

func quotedPrintable(text string) string {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	_, _ = w.Write([]byte(text)) // into memory
	_ = w.Close()
	return out.String()
}

func quoted(text string) string {
	out, _ := json.Marshal(text) // a string always can be
	return string(out[1 : len(out)-1])
}

// Forms returns the forms of a secret of at least eight characters of valid UTF-8.
func Forms(secret string) []Form {
	std, urlSafe := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	half := len([]rune(secret)) / 2
	split := func(between string) string {
		return string([]rune(secret)[:half]) + between + string([]rune(secret)[half:])
	}
	numeric := func(format string) string {
		return each(secret, "", func(_ int, r rune) string { return fmt.Sprintf(format, r) })
	}
	percent := bytesAs(secret, "%%%02X", "")
	escaped := each(secret, "", func(_ int, r rune) string {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			return fmt.Sprintf(`\u%04x\u%04x`, high, low)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
	forms := []Form{
		{"as it is", secret},
		{"upper case", strings.ToUpper(secret)},
		{"lower case", strings.ToLower(secret)},
		{"references for five characters", html.EscapeString(secret)},
		{"references for five characters, twice", html.EscapeString(html.EscapeString(secret))},
		{"decimal references", numeric("&#%d;")},
		{"hexadecimal references", numeric("&#x%X;")},
		{"references with zeros", numeric("&#%05d;")},
		{"references in part", each(secret, "", func(i int, r rune) string {
			return []string{string(r), fmt.Sprintf("&#%d;", r), html.EscapeString(string(r)), fmt.Sprintf("&#x%x;", r)}[i%4]
		})},
		{"tags inside", split("<b>")},
		{"tags with attributes between all characters", each(secret, `<span class="c" title='>'>`, func(_ int, r rune) string { return html.EscapeString(string(r)) })},
		{"a comment inside", split("<!-- a > b -->")},
		{"form encoding", url.QueryEscape(secret)},
		{"percent-encoding", url.PathEscape(secret)},
		{"percent-encoding of all", percent},
		{"percent-encoding twice", url.QueryEscape(url.QueryEscape(secret))},
		{"percent-encoding three times", url.PathEscape(url.PathEscape(url.PathEscape(secret)))},
		{"references in percent-encoding", url.QueryEscape(html.EscapeString(secret))},
		{"percent-encoding in references", html.EscapeString(url.QueryEscape(secret))},
		{"quoted-printable", quotedPrintable(secret)},
		{"quoted-printable of all", bytesAs(secret, "=%02X", "")},
		{"soft line breaks", each(secret, "=\r\n", func(_ int, r rune) string { return strings.TrimSuffix(bytesAs(string(r), "=%02X", ""), "\r\n") })},
		{"base64", std([]byte(secret))},
		{"base64 after one byte", std([]byte("a" + secret + "b"))},
		{"base64 after two bytes", std([]byte("ab" + secret + "bc"))},
		{"base64, URL-safe", urlSafe([]byte("~?" + secret + "~"))},
		{"base64 in lines", wrapped(std([]byte("user\x00"+secret+"\x00and more that follows")), 12, "\r\n")},
		{"base64 of UTF-16", std(units(secret, false))},
		{"base64 of a page", std([]byte("<p>Your password is " + html.EscapeString(secret) + "</p><p>Keep it."))},
		{"base64 of base64", std([]byte("Authorization: Basic " + std([]byte("alice:"+secret))))},
		{"base64 of upper case", std([]byte(strings.ToUpper(secret)))},
		{"base64, percent-encoded", url.QueryEscape(std([]byte("~~?" + secret)))},
		{"SASL PLAIN", std([]byte("\x00alice\x00" + secret))},
		{"XOAUTH2", std([]byte("user=alice\x01auth=Bearer " + secret + "\x01\x01"))},
		{"hexadecimal", hex.EncodeToString([]byte(secret))},
		{"hexadecimal, upper case", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		{"hexadecimal with blanks", bytesAs(secret, "%02x", " ")},
		{"hexadecimal with colons", bytesAs(secret, "%02X", ":")},
		{"hexadecimal as in C", bytesAs(secret, "0x%02x", ", ")},
		{"a bytea of PostgreSQL", `\x` + hex.EncodeToString([]byte(secret))},
		{"JSON", quoted(secret)},
		{"JSON twice", quoted(quoted(secret))},
		{"JSON, all escaped", escaped},
		{"JSON, all escaped, twice", quoted(escaped)},
		{"JSON, slashes escaped", strings.ReplaceAll(quoted(secret), "/", `\/`)},
		{"Go", strconv.QuoteToASCII(secret)},
		{"bytes with backslashes", bytesAs(secret, `\x%02x`, "")},
		{"octal", bytesAs(secret, `\%03o`, "")},
		{"code points with braces", numeric(`\u{%x}`)},
		{"code points of IIS", strings.ReplaceAll(escaped, `\u`, "%u")},
		{"a shell", "'" + strings.ReplaceAll(secret, "'", `'\''`) + "'"},
		{"backslashes before all but letters", regexp.QuoteMeta(secret)},
		{"SQL", strings.ReplaceAll(secret, "'", "''")},
		{"lines", split("\r\n")},
		{"a line of a reply", split("\r\n250-")},
		{"a line of a refusal", split("\r\n550 5.7.1 ")},
		{"a line of IMAP", split("\r\n* ")},
		{"lines of a transcript", split("\nS: 250-")},
		{"blanks between all characters", each(secret, " ", same)},
		{"character strings of DNS", `"` + strings.ReplaceAll(split("\x00"), "\x00", `" "`) + `"`},
		{"UTF-16", string(units(secret, false))},
		{"UTF-16, big-endian", string(units(secret, true))},
		{"an encoded word, Q", mime.QEncoding.Encode("utf-8", secret+"é")},
		{"an encoded word, B", mime.BEncoding.Encode("utf-8", secret+"é")},
		{"two encoded words", mime.BEncoding.Encode("utf-8", string([]rune(secret)[:half])+"\x01") + "\r\n " + mime.BEncoding.Encode("utf-8", "\x01"+string([]rune(secret)[half:]))},
		{"UTF-7", "&" + strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(units(secret, true)), "/", ",") + "-"},
		{"UTF-7 of other characters than letters and digits of ASCII", each(secret, "", func(_ int, r rune) string {
			if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
				return string(r)
			}
			return "+" + base64.RawStdEncoding.EncodeToString(units(string(r), true)) + "-"
		})},
		{"nothing visible inside", each(secret, "\u200b", same)},
		{"cut at the end", "it was " + string([]rune(secret)[:len([]rune(secret))-2]) + "…"},
		{"cut at the beginning", "…" + string([]rune(secret)[2:]) + " it was"},
	}
	proper, wrong := latin1(secret)
	if proper != "" && proper != secret {
		forms = append(forms, Form{"ISO 8859-1", proper}, Form{"UTF-8 taken for ISO 8859-1", wrong}, Form{"base64 of ISO 8859-1", std([]byte("x" + proper))},
			Form{"references of bytes", each(wrong, "", func(_ int, r rune) string { return fmt.Sprintf("&#%d;", r) })}, Form{"percent-encoding of ISO 8859-1", bytesAs(proper, "%%%02X", "")})
	}
	return forms
}

// tags, blanks and separators that Find ignores.
var (
	tags    = regexp.MustCompile(`(?s)<!--.*?-->|<[^<>]*>`)
	codes   = regexp.MustCompile(`(?m)^(?:[SC]: )?(?:\d{3}[- ](?:\d\.\d\.\d )?|[*+] )`)
	percent = regexp.MustCompile(`(?i)%[0-9a-f]{2}`)
	equals  = regexp.MustCompile(`(?i)=[0-9a-f]{2}`)
	slashes = regexp.MustCompile(`(?i)\\+(?:u\{?[0-9a-f]{4}\}?|x[0-9a-f]{2}|[0-7]{3})`)
	iis     = regexp.MustCompile(`(?i)%u[0-9a-f]{4}`)
	digits  = regexp.MustCompile(`(?i)[0-9a-f]{8,}`)
	hexed   = regexp.MustCompile(`(?i)(?:0x)?[0-9a-f]{2}(?:[ :,-]+(?:0x)?[0-9a-f]{2}){3,}`)
	letters = regexp.MustCompile(`[A-Za-z0-9+/_-]{6,}`)
)

// bare is text without what may stand between the characters of a secret, in lower case.
func bare(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '\\' || r == '"' || r == '\u200b' || r == '\u00a0' || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToLower(text))
}

// Find looks for a secret in an output, decoding whatever can be decoded, over and over. It returns how it is in there, or
// "".
func Find(output, secret string) (how string) {
	wanted := bare(secret)
	seen := map[string]bool{}
	type reading struct{ how, text string }
	queue := []reading{{"as it is", output}}
	for len(queue) > 0 && len(seen) < 4000 {
		now := queue[0]
		queue = queue[1:]
		if seen[now.text] {
			continue
		}
		seen[now.text] = true
		if strings.Contains(bare(now.text), wanted) || strings.Contains(strings.ReplaceAll(bare(now.text), "+", ""), strings.ReplaceAll(wanted, "+", "")) {
			return now.how
		}
		if strings.Count(now.how, "<") > 4 {
			continue
		}
		also := func(how, text string) {
			if text != now.text && text != "" {
				queue = append(queue, reading{how + " < " + now.how, text})
			}
		}
		hexByte := func(skip int) func(string) string {
			return func(m string) string {
				n, _ := strconv.ParseUint(m[skip:], 16, 8)
				return string([]byte{byte(n)})
			}
		}
		also("html", html.UnescapeString(now.text))
		also("tags", tags.ReplaceAllString(now.text, ""))
		also("codes", codes.ReplaceAllString(now.text, ""))
		also("percent", percent.ReplaceAllStringFunc(now.text, hexByte(1)))
		also("equals", equals.ReplaceAllStringFunc(strings.ReplaceAll(strings.ReplaceAll(now.text, "=\r\n", ""), "=\n", ""), hexByte(1)))
		also("iis", iis.ReplaceAllStringFunc(now.text, func(m string) string { return `\u` + m[2:] }))
		also("backslashes", slashes.ReplaceAllStringFunc(now.text, func(m string) string {
			m = strings.TrimLeft(m, `\`)
			switch m[0] {
			case 'u', 'U':
				n, _ := strconv.ParseUint(strings.Trim(m[1:], "{}"), 16, 32)
				return string(rune(n))
			case 'x', 'X':
				n, _ := strconv.ParseUint(m[1:], 16, 8)
				return string([]byte{byte(n)})
			}
			n, _ := strconv.ParseUint(m, 8, 16)
			return string([]byte{byte(n)})
		}))
		if word := new(mime.WordDecoder); strings.Contains(now.text, "=?") {
			if text, err := word.DecodeHeader(now.text); err == nil {
				also("words", text)
			}
		}
		for _, run := range append(digits.FindAllString(now.text, -1), hexed.FindAllString(now.text, -1)...) {
			clean := strings.NewReplacer(" ", "", ":", "", ",", "", "-", "", "0x", "").Replace(run)
			if raw, err := hex.DecodeString(clean[:len(clean)&^1]); err == nil && strings.Contains(bare(string(raw)), wanted) {
				return "hex < " + now.how
			}
		}
		for _, text := range []string{now.text, strings.NewReplacer("\r", "", "\n", "").Replace(now.text)} {
			for _, run := range letters.FindAllString(text, -1) {
				run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
				for at := 0; at < 4 && at < len(run); at++ {
					part := run[at:]
					if len(part)%4 == 1 {
						part = part[:len(part)-1]
					}
					if raw, err := base64.RawStdEncoding.DecodeString(part); err == nil {
						plain := html.UnescapeString(string(raw))
						if strings.Contains(bare(plain), wanted) || strings.Contains(bare(strings.ReplaceAll(plain, "\x00", "")), wanted) {
							return "base64 < " + now.how
						}
					}
				}
			}
		}
	}
	return ""
}
