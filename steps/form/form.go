// Package form determines what a form sends: which control belongs to which form, the entry list and its encodings (HTML
// §4.10.22), all as browsers do.
//
// It works on a tree of HTML whose attributes hold the state of the controls: value, checked, selected. Where Chromium deviates from
// the standard, it sends what Chromium sends: controls in a datalist, an empty dirname, and the document's encoding when
// accept-charset names none that exists. It leaves out what only a script or a layout decides: elements of a page's own that take
// part in forms, the size of an image without width and height, and the line breaks that wrap=hard adds.
package form

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/stepwatch/stepwatch/steps/pagetree"
)

// Entry is a name and a value that a form sends.
type Entry struct {
	Name, Value string
	IsFile      bool
	File        string // path of the file; empty when none was chosen
}

// State is what a document knows about its controls beyond their attributes.
type State struct {
	Owners map[*html.Node]*html.Node
	Files  map[*html.Node]string // paths by file field
	Typed  map[*html.Node]string // by text field that a visitor has typed into: the value before
	Coding encoding.Encoding     // in which the form is sent, nil for UTF-8
}

// Entries returns the entry list of a form of the document (HTML §4.10.22.4). submitter is the pressed button, or nil.
func Entries(document, form, submitter *html.Node, s State) []Entry {
	var list []Entry
	add := func(name, value string) { list = append(list, Entry{Name: name, Value: value}) }
	for n := range pagetree.Nodes(document) {
		owner, isControl := s.Owners[n]
		button := pagetree.ButtonType(n)
		if !isControl || owner != form || button != "" && n != submitter || pagetree.IsDisabled(n) {
			continue
		}
		name, _ := pagetree.Attribute(n, "name")
		if button == "image" {
			if name != "" {
				name += "."
			}
			add(name+"x", middle(n, "width"))
			add(name+"y", middle(n, "height"))
			continue
		}
		if name == "" {
			continue
		}
		value, valued := pagetree.Attribute(n, "value")
		switch kind := pagetree.KindOf(n); {
		case kind == pagetree.KindSelect:
			for _, o := range pagetree.Selected(n) {
				add(name, pagetree.OptionValue(o))
			}
		case kind == pagetree.KindCheckbox, kind == pagetree.KindRadio:
			if _, checked := pagetree.Attribute(n, "checked"); checked {
				if !valued {
					value = "on"
				}
				add(name, value)
			}
		case kind == pagetree.KindFile:
			list = append(list, Entry{Name: name, File: s.Files[n], IsFile: true})
		case pagetree.IsHiddenInput(n) && strings.EqualFold(name, "_charset_"):
			add(name, nameOf(s.Coding))
		case n.DataAtom == atom.Textarea:
			value = pagetree.TextareaValue(n)
			add(name, value)
		case n.DataAtom == atom.Input && button == "":
			value = Sanitized(n, value)
			add(name, value)
		default:
			add(name, value)
		}
		if told, found := pagetree.Attribute(n, "dirname"); found && directed(n) {
			add(told, direction(n, value))
		}
	}
	return list
}

// middle returns where a click in the middle of an image hits it, as far as HTML says how large it is.
func middle(image *html.Node, side string) string {
	text, _ := pagetree.Attribute(image, side)
	pixels, err := strconv.Atoi(text)
	if err != nil || pixels < 0 {
		return "0"
	}
	return strconv.Itoa((pixels + 1) / 2)
}

// nameOf returns the name of an encoding as the Encoding standard writes it.
func nameOf(coding encoding.Encoding) string {
	if coding == nil {
		return "UTF-8"
	}
	if n, is := coding.(narrow); is {
		coding = n.Encoding
	}
	name, err := htmlindex.Name(coding)
	if err != nil {
		return "UTF-8"
	}
	if written, found := written[name]; found {
		return written
	}
	return name
}

// written are the names of encodings that the standard does not write in lower case, by those that it registers.
var written = map[string]string{
	"ibm866": "IBM866", "iso-8859-2": "ISO-8859-2", "iso-8859-3": "ISO-8859-3", "iso-8859-4": "ISO-8859-4", "iso-8859-5": "ISO-8859-5",
	"iso-8859-6": "ISO-8859-6", "iso-8859-7": "ISO-8859-7", "iso-8859-8": "ISO-8859-8", "iso-8859-8-i": "ISO-8859-8-I", "iso-8859-10": "ISO-8859-10",
	"iso-8859-13": "ISO-8859-13", "iso-8859-14": "ISO-8859-14", "iso-8859-15": "ISO-8859-15", "iso-8859-16": "ISO-8859-16", "koi8-r": "KOI8-R",
	"koi8-u": "KOI8-U", "gbk": "GBK", "big5": "Big5", "euc-jp": "EUC-JP", "iso-2022-jp": "ISO-2022-JP", "shift_jis": "Shift_JIS", "euc-kr": "EUC-KR",
	"utf-8": "UTF-8",
}

// Output returns the encoding in which a document of this encoding sends (Encoding §4.3, "get an output encoding"): nil for UTF-8.
func Output(coding encoding.Encoding) encoding.Encoding {
	if coding == nil {
		return nil
	}
	if _, done := coding.(narrow); done {
		return coding
	}
	switch name, err := htmlindex.Name(coding); {
	case err != nil, name == "utf-8", name == "replacement", strings.HasPrefix(name, "utf-16"):
		return nil
	}
	return narrowed(coding)
}

// Coding returns the encoding in which a form is sent (HTML §4.10.22.5), nil for UTF-8: the first known one of accept-charset, or
// that of its document.
func Coding(form *html.Node, document encoding.Encoding) encoding.Encoding {
	accepted, _ := pagetree.Attribute(form, "accept-charset")
	for label := range strings.FieldsSeq(strings.ReplaceAll(accepted, ",", " ")) {
		if coding, err := htmlindex.Get(label); err == nil {
			return Output(coding)
		}
	}
	return Output(document)
}

// directed reports whether the direction of a control's text is sent as dirname says (HTML §4.10.18.2).
func directed(n *html.Node) bool {
	if n.DataAtom == atom.Textarea {
		return true
	}
	switch inputType(n) {
	case "hidden", "text", "search", "tel", "url", "email", "password", "submit", "reset", "button":
		return n.DataAtom == atom.Input
	}
	return false
}

// direction returns the direction of a control (HTML §3.2.6.4): "ltr" or "rtl".
func direction(control *html.Node, value string) string {
	for n := control; n != nil; n = n.Parent {
		switch dir, _ := pagetree.Attribute(n, "dir"); strings.ToLower(dir) {
		case "ltr", "rtl":
			return strings.ToLower(dir)
		case "auto":
			if n == control {
				return strong(value)
			}
			return strong(textOf(n))
		}
		if n == control && control.DataAtom == atom.Input && inputType(control) == "tel" || pagetree.IsFrame(n) {
			break
		}
	}
	return "ltr"
}

// strong returns the direction of the first character that has one.
func strong(text string) string {
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko):
			return "rtl"
		case unicode.IsLetter(r):
			return "ltr"
		}
	}
	return "ltr"
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}
