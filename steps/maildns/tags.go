package maildns

import (
	"slices"
	"strings"
)

// tag is one "name=value" of a semicolon-separated list (RFC 6376 section 3.2), the format of DKIM, DMARC, MTA-STS, TLS
// reporting and BIMI records.
type tag struct{ name, value string }

type tagList []tag

// parseTags parses a list. An invalid or repeated tag is a fault.
func parseTags(record string, f *Findings) tagList {
	var list tagList
	if strings.Contains(record, `\;`) {
		f.fault(`it has backslashes before its semicolons: enter it without them, because the DNS server or its web form adds them if needed`)
	}
	for i, part := range strings.Split(record, ";") {
		part = strings.Trim(part, " \t\r\n")
		name, value, found := strings.Cut(part, "=")
		name = strings.TrimRight(name, " \t\r\n")
		switch {
		case part == "":
			if i == 0 {
				f.fault("it begins with a semicolon")
			}
		case !found || name == "" || strings.ContainsAny(name, " \t\r\n\""):
			f.fault("%s is not a tag: want name=value", quote(part))
		case list.has(name):
			f.fault("the tag %s= occurs twice", name)
		default:
			list = append(list, tag{name, strings.TrimLeft(value, " \t\r\n")})
		}
	}
	return list
}

func (l tagList) has(name string) bool {
	return slices.ContainsFunc(l, func(t tag) bool { return t.name == name })
}

// value returns the value of a tag, or an empty string.
func (l tagList) value(name string) string {
	for _, t := range l {
		if t.name == name {
			return t.value
		}
	}
	return ""
}

// unknown advises about unknown tags, which are often misspelt.
func (l tagList) unknown(f *Findings, known ...string) {
	for _, t := range l {
		if !slices.Contains(known, t.name) {
			f.advise("receivers ignore the tag %s=: is it misspelt?", oneWord(t.name))
		}
	}
}

func oneWord(text string) string {
	quoted := quote(text)
	return strings.Trim(quoted, `"`)
}

// versionIs reports whether a record begins with the tag v and this value. White space around the equals sign is
// allowed.
func versionIs(record, version string) bool {
	first, _, _ := strings.Cut(record, ";")
	name, value, found := strings.Cut(first, "=")
	return found && strings.Trim(name, " \t") == "v" && strings.Trim(value, " \t\r\n") == version
}

// only returns the record of a version among the texts of a name. Several records are a fault, because receivers ignore
// all of them. No record is a fault too, with a hint to a similar text.
func only(texts []string, at, version string, f *Findings) string {
	var fitting []string
	near := ""
	for _, text := range texts {
		if versionIs(text, version) {
			fitting = append(fitting, text)
		} else if strings.Contains(strings.ToLower(text), strings.ToLower(version)) {
			near = text
		}
	}
	switch {
	case len(fitting) == 1:
		return fitting[0]
	case len(fitting) > 1:
		f.fault("%s has %d records, so none counts: remove all but one", at, len(fitting))
	case near != "":
		f.fault(`%s has no record that begins with exactly "v=%s;": it has %s`, at, version, quote(near))
	default:
		f.fault(`there is no record at %s: add a TXT record that begins with "v=%s;"`, at, version)
	}
	return ""
}
