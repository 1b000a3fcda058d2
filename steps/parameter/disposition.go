package parameter

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Disposition returns what a browser does with a response (Content-Disposition, RFC 6266): whether it saves it instead
// of showing it, and under which name; the name is "" when the field has none.
func Disposition(value string) (attachment bool, name string) {
	first, pairs := split(value)
	switch {
	case strings.EqualFold(first, "inline"), first == "" && len(pairs) == 0:
	case first == "" || isToken(first):
		attachment = true
	default: // the type is missing: "filename=a.pdf"
		attachment = true
		if all := parts(value, ';'); strings.Contains(all[0], "=") {
			_, pairs = split(";" + value)
		}
		if strings.HasPrefix(first, `"`) {
			pairs = nil
		}
	}
	plain := ""
	for _, p := range pairs {
		switch {
		case p.name == "filename" && plain == "":
			plain = fileName(p.value)
		case p.name == "filename*" && name == "" && !p.quoted:
			if label, text, valid := labelled(p.value); valid && label != "" {
				if converted, valid := decoded(label, address.Decode(text)); valid {
					name = converted
				}
			}
		}
	}
	if name == "" {
		name = plain
	}
	return attachment, FileName(name)
}

// fileName decodes the value of filename as Chromium does: it may have encoded words or percent escapes, which RFC 6266
// does not allow. A name that is not UTF-8 then is no name.
func fileName(value string) string {
	if decodedWords, err := words.DecodeHeader(value); err == nil && decodedWords != value {
		value = decodedWords
	} else if unescaped := address.Decode(value); utf8.ValidString(unescaped) {
		value = unescaped
	}
	if !utf8.ValidString(value) {
		return ""
	}
	return value
}

// FileName returns the name under which a browser saves a file that a site calls so: without dots at its ends, and with
// underscores for what a name cannot contain, such as slashes.
func FileName(name string) string {
	if name == "" {
		return ""
	}
	name = strings.TrimLeft(strings.Trim(name, "."), " ")
	var b strings.Builder
	for i, r := range name {
		last := i+utf8.RuneLen(r) == len(name)
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case strings.ContainsRune(`"*/:<>?\|`, r), unicode.IsControl(r), unicode.Is(unicode.Cf, r), last && r == ' ':
			b.WriteByte('_')
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "download"
	}
	return b.String()
}
