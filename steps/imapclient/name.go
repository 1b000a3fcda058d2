package imapclient

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The names of folders are in modified UTF-7 (RFC 3501 section 5.1.3) unless the client has enabled UTF-8 (RFC 6855).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

func encodeName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		c := name[i]
		if c >= 0x20 && c <= 0x7e {
			b.WriteByte(c)
			if c == '&' {
				b.WriteByte('-')
			}
			i++
			continue
		}
		from := i
		for i < len(name) && (name[i] < 0x20 || name[i] > 0x7e) {
			i++
		}
		units := utf16.Encode([]rune(name[from:i]))
		raw := make([]byte, 0, 2*len(units))
		for _, u := range units {
			raw = binary.BigEndian.AppendUint16(raw, u)
		}
		b.WriteByte('&')
		b.WriteString(utf7.EncodeToString(raw))
		b.WriteByte('-')
	}
	return b.String()
}

// decodeName decodes a name. ok is false when it is not in modified UTF-7: some servers send UTF-8 unasked.
func decodeName(encoded string) (name string, ok bool) {
	if strings.IndexByte(encoded, '&') < 0 {
		return encoded, isPrintable(encoded)
	}
	var b strings.Builder
	for i := 0; i < len(encoded); {
		c := encoded[i]
		if c < 0x20 || c > 0x7e {
			return "", false
		}
		if c != '&' {
			b.WriteByte(c)
			i++
			continue
		}
		end := strings.IndexByte(encoded[i:], '-')
		if end < 0 {
			return "", false
		}
		if end == 1 {
			b.WriteByte('&')
		} else {
			raw, err := utf7.DecodeString(encoded[i+1 : i+end])
			if err != nil || len(raw)%2 != 0 {
				return "", false
			}
			units := make([]uint16, len(raw)/2)
			for j := range units {
				units[j] = uint16(raw[2*j])<<8 | uint16(raw[2*j+1])
			}
			for _, r := range utf16.Decode(units) {
				if r == utf8.RuneError {
					return "", false
				}
				b.WriteRune(r)
			}
		}
		i += end + 1
	}
	return b.String(), true
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// quote returns a text as a quoted string. ok is false when it needs a literal (RFC 9051 section 4.3).
func quote(text string) (quoted string, ok bool) {
	if len(text) > 1000 {
		return "", false
	}
	for i := range len(text) {
		if c := text[i]; c == 0 || c == '\r' || c == '\n' || c >= 0x80 {
			return "", false
		}
	}
	return `"` + escapes.Replace(text) + `"`, true
}

// escapes are those of a quoted string.
var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
