package maildns

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// BIMILogoLimit is the recommended maximum size of a logo in bytes (draft-svg-tiny-ps-abrotman).
const BIMILogoLimit = 32 << 10

// BIMI is the record that names a domain's logo (draft-brand-indicators-for-message-identification).
type BIMI struct {
	Name     string // default._bimi.example.org
	Logo     string // https address of an SVG file; empty if the domain declines to have one
	Evidence string // https address of a mark certificate, or empty
	Findings
}

// CheckBIMI reads and lints the record of a domain for the selector "default".
func CheckBIMI(ctx context.Context, lookup Lookup, domain string) (*BIMI, error) {
	b := &BIMI{Name: "default._bimi." + domain}
	texts, err := lookup.texts(ctx, b.Name)
	if err != nil {
		return b, err
	}
	record := only(texts, b.Name, "BIMI1", &b.Findings)
	if record == "" {
		return b, nil
	}
	tags := parseTags(record, &b.Findings)
	tags.unknown(&b.Findings, "v", "l", "a", "e", "avp", "lps", "s")
	if !tags.has("l") {
		b.fault("it has no l=: add the https address of the logo")
	}
	b.Logo, b.Evidence = tags.value("l"), tags.value("a")
	for _, tag := range []struct{ name, value string }{{"l", b.Logo}, {"a", b.Evidence}} {
		if host, is := strings.CutPrefix(strings.ToLower(tag.value), "https://"); tag.value != "" && (!is || host == "" || host[0] == '/') {
			b.fault("%s=%s: want an https address", tag.name, oneWord(tag.value))
		}
	}
	if b.Logo != "" && b.Evidence == "" {
		b.advise("without a mark certificate (a=), most mailbox providers show no logo")
	}
	return b, nil
}

// CheckBIMILogo lints an image against the profile that mailbox providers accept, SVG Tiny Portable/Secure.
func CheckBIMILogo(image []byte) Findings {
	var f Findings
	if len(image) > BIMILogoLimit {
		f.fault("it has %d bytes, but providers accept at most %d", len(image), BIMILogoLimit)
	}
	decoder := xml.NewDecoder(bytes.NewReader(image))
	root, title := true, false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.fault("it is not XML: %s", wording.Syntax(image, err))
			return f
		}
		element, is := token.(xml.StartElement)
		if !is {
			continue
		}
		attributes := map[string]string{}
		for _, a := range element.Attr {
			attributes[strings.ToLower(a.Name.Local)] = a.Value
		}
		switch name := strings.ToLower(element.Name.Local); {
		case root:
			root = false
			if name != "svg" {
				f.fault("its root element is <%s>, want <svg>", oneWord(element.Name.Local))
				return f
			}
			if attributes["baseprofile"] != "tiny-ps" || attributes["version"] != "1.2" {
				f.fault(`want version="1.2" and baseProfile="tiny-ps", got version=%s and baseProfile=%s`, quote(attributes["version"]), quote(attributes["baseprofile"]))
			}
		case name == "title":
			title = true
		case name == "script", name == "foreignobject", name == "image", strings.HasPrefix(name, "animate"):
			f.fault("it has a <%s>, which the profile forbids", oneWord(element.Name.Local))
		case attributes["href"] != "" && !strings.HasPrefix(attributes["href"], "#"):
			f.fault("<%s> refers to something outside the file, which the profile forbids", oneWord(element.Name.Local))
		}
	}
	switch {
	case root:
		f.fault("it is empty")
	case !title:
		f.fault("it has no <title>, which the profile requires")
	}
	return f
}
