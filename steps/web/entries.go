package web

import (
	"bytes"
	"cmp"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/andybalholm/cascadia"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// needsBrowser is the end of every message about something that only a script can do.
const needsBrowser = "that needs a browser: tag the scenario @browser"

// formOf returns the form that owns a control (HTML §4.10.18.3), or nil. It computes all owners at once, since a page
// may have a hundred thousand controls.
func (p *page) formOf(control *html.Node) *html.Node {
	if p.owners == nil {
		p.owners = map[*html.Node]*html.Node{}
		for document := range pagetree.Documents(p.doc) {
			p.assignForms(document, nil, nil, pagetree.ElementsByID(document))
		}
	}
	return p.owners[control]
}

// assignForms records the owner of each control below n. form is the form around n. loose is a form written between a
// table and its rows: the parser leaves it there empty, but browsers still assign the controls after it to it.
func (p *page) assignForms(n, form, loose *html.Node, ids map[string]*html.Node) {
	for c := range n.ChildNodes() {
		if c.Type != html.ElementNode || pagetree.HoldsDocument(c) {
			continue
		}
		if c.DataAtom == atom.Form {
			if c.FirstChild == nil && pagetree.Parents[n.DataAtom] != nil {
				loose = c
			}
			p.assignForms(c, c, loose, ids)
			continue
		}
		if pagetree.ButtonType(c) != "" || pagetree.KindOf(c) != "" || pagetree.IsHiddenInput(c) {
			owner := cmp.Or(form, loose)
			if id, found := pagetree.Attribute(c, "form"); found {
				if owner = ids[id]; owner != nil && owner.DataAtom != atom.Form {
					owner = nil
				}
			}
			p.owners[c] = owner
		}
		p.assignForms(c, form, loose, ids)
	}
}

// findForm finds a form by id, name or CSS selector.
func (s *search) findForm(doc *html.Node) (*html.Node, error) {
	s.kind = "form"
	var forms []candidate
	for n := range doc.Descendants() {
		if n.DataAtom != atom.Form {
			continue
		}
		c := candidate{node: n, rank: -1}
		s.fitID(&c)
		id, _ := pagetree.Attribute(n, "id")
		name, _ := pagetree.Attribute(n, "name")
		if name != "" && name == s.name {
			c.fits(rankName, name)
		}
		switch {
		case id != "":
			c.shown = wording.Quote(id)
		case name != "":
			c.shown = wording.Quote(name)
		default:
			action, _ := pagetree.Attribute(n, "action")
			c.shown = "one for " + wording.Quote(action)
		}
		forms = append(forms, c)
	}
	if !slices.ContainsFunc(forms, func(c candidate) bool { return c.rank >= 0 }) {
		if selector, err := cascadia.Parse(s.name); err == nil {
			for _, n := range cascadia.QueryAll(doc, selector) {
				// As with an id, the selected element may also be inside the form.
				for ; n != nil && n.DataAtom != atom.Form; n = n.Parent {
				}
				for i := range forms {
					if forms[i].node == n {
						forms[i].fits(rankPart, "")
					}
				}
			}
		}
	}
	return s.choose(forms, "")
}

// findOption finds the option with this text in a select field.
func (s *search) findOption(field *html.Node, wanted string) (*html.Node, error) {
	text := pagetree.Normal(wanted)
	var found *html.Node
	var all []candidate
	for _, fold := range []bool{false, true} {
		for _, o := range pagetree.Options(field) {
			own := pagetree.OptionText(o)
			if !fold {
				all = append(all, candidate{shown: wording.Quote(own)})
			}
			if found == nil && (own == text || fold && strings.EqualFold(own, text)) {
				found = o
			}
		}
	}
	switch {
	case found == nil && len(all) == 0:
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the field has no options")
	case found == nil:
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the field has no such option; it has %s", list(all))
	case pagetree.OptionDisabled(found):
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the option is disabled")
	}
	return found, nil
}

// chooseRadio checks a radio button and unchecks the others of its group.
func (p *page) chooseRadio(radio *html.Node) {
	group, _ := pagetree.Attribute(radio, "name")
	form := p.formOf(radio)
	for n := range pagetree.Nodes(pagetree.Document(radio)) {
		if name, _ := pagetree.Attribute(n, "name"); group != "" && pagetree.KindOf(n) == pagetree.KindRadio && name == group && p.formOf(n) == form {
			pagetree.RemoveAttribute(n, "checked")
		}
	}
	pagetree.SetAttribute(radio, "checked", "")
}

// entry is a name and a value that a form sends.
type entry struct {
	name, value string
	file        string // path, for a file field
	isFile      bool
}

// entries returns the entry list (HTML §4.10.21.4). submitter is the pressed button, or nil.
func (p *page) entries(form, submitter *html.Node) []entry {
	var list []entry
	for n := range pagetree.Nodes(p.doc) {
		isButton := pagetree.ButtonType(n) != ""
		if !isButton && pagetree.KindOf(n) == "" && !pagetree.IsHiddenInput(n) || isButton && n != submitter ||
			p.formOf(n) != form || pagetree.IsDisabled(n) || pagetree.InDatalist(n) {
			continue
		}
		name, _ := pagetree.Attribute(n, "name")
		value, valued := pagetree.Attribute(n, "value")
		kind := pagetree.KindOf(n)
		if pagetree.ButtonType(n) == "image" {
			prefix := ""
			if name != "" {
				prefix = name + "."
			}
			list = append(list, entry{name: prefix + "x", value: "0"}, entry{name: prefix + "y", value: "0"})
			continue
		}
		if name == "" {
			continue
		}
		switch kind {
		case pagetree.KindSelect:
			for _, o := range pagetree.Selected(n) {
				list = append(list, entry{name: name, value: pagetree.OptionValue(o)})
			}
		case pagetree.KindCheckbox, pagetree.KindRadio:
			if _, checked := pagetree.Attribute(n, "checked"); checked {
				if !valued {
					value = "on"
				}
				list = append(list, entry{name: name, value: value})
			}
		case pagetree.KindFile:
			list = append(list, entry{name: name, file: p.files[n], isFile: true})
		default:
			if n.DataAtom == atom.Textarea {
				value = pagetree.TextareaValue(n)
			}
			if pagetree.IsHiddenInput(n) && strings.EqualFold(name, "_charset_") {
				value = p.charsetName()
			}
			list = append(list, entry{name: name, value: value})
		}
	}
	return list
}

func (p *page) charsetName() string {
	if p.encoding == nil {
		return "UTF-8"
	}
	return strings.ToUpper(fmt.Sprint(p.encoding))
}

// submission returns the visit that submits a form (HTML §4.10.21.3). submitter is the pressed button, or nil.
func (s *search) submission(form, submitter *html.Node) (visit, error) {
	setting := func(key string) string { return pagetree.FormSetting(form, submitter, key) }
	p := s.page.at(form)
	target := *p.url
	if action := setting("action"); action != "" {
		to, err := p.base().Parse(action)
		if err != nil {
			return visit{}, s.failure(result.ReasonUnexpected, result.BlameWeb, "the form's action %q is not a URL", action)
		}
		target = *to
	}
	if strings.EqualFold(target.Scheme, "javascript") {
		return visit{}, s.failure(result.ReasonScenario, result.BlameScenario, "the form is sent by a script; %s", needsBrowser)
	}
	if err := mendHost(&target); err != nil {
		return visit{}, s.failure(result.ReasonUnexpected, result.BlameWeb, "the form's action %q: %v", setting("action"), err)
	}
	v := visit{method: http.MethodGet, url: &target, referrer: p.url}
	list := p.entries(form, submitter)
	for i := range list {
		list[i].name, list[i].value = p.encode(newlines(list[i].name)), p.encode(newlines(list[i].value))
	}
	switch strings.ToLower(setting("method")) {
	case "post":
		v.method = http.MethodPost
	case "dialog":
		return visit{}, s.failure(result.ReasonScenario, result.BlameScenario, "the form closes a dialog; %s", needsBrowser)
	default:
		target.RawQuery, target.Fragment, target.RawFragment = urlencoded(list), "", ""
		return v, nil
	}
	switch strings.ToLower(setting("enctype")) {
	case "multipart/form-data":
		return v, s.multipart(&v, list)
	case "text/plain":
		var b strings.Builder
		for _, e := range list {
			b.WriteString(e.name + "=" + e.plain() + "\r\n")
		}
		v.body, v.contentType = []byte(b.String()), "text/plain"
	default:
		v.body, v.contentType = []byte(urlencoded(list)), "application/x-www-form-urlencoded"
	}
	return v, nil
}

// newlines converts every line ending to CRLF, as forms send it.
func newlines(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// encode converts a value to the page's encoding, in which forms are sent.
func (p *page) encode(s string) string {
	if p.encoding == nil {
		return s
	}
	encoded, err := encoding.HTMLEscapeUnsupported(p.encoding.NewEncoder()).String(s)
	if err != nil {
		return s
	}
	return encoded
}

// plain returns the value for encodings that cannot contain files: the file name only.
func (e *entry) plain() string {
	if e.isFile && e.file != "" {
		return filepath.Base(e.file)
	}
	return e.value
}

// urlencoded keeps the order of the page, unlike url.Values.
func urlencoded(list []entry) string {
	var b strings.Builder
	for _, e := range list {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(e.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(e.plain()))
	}
	return b.String()
}

// multipart encodes the entries as multipart/form-data (RFC 7578).
func (s *search) multipart(v *visit, list []entry) error {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	escape := strings.NewReplacer("\n", "%0A", "\r", "%0D", `"`, "%22").Replace
	for _, e := range list {
		header := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, escape(e.name))
		content := []byte(e.value)
		if e.isFile {
			name := ""
			if content = nil; e.file != "" {
				var err error
				if content, err = os.ReadFile(e.file); err != nil {
					return s.failure(result.ReasonConfig, result.BlameScenario, "read the attached file: %v", err)
				}
				name = filepath.Base(e.file)
			}
			disposition += fmt.Sprintf(`; filename="%s"`, escape(name))
			header.Set("Content-Type", fileType(name, content))
		}
		header.Set("Content-Disposition", disposition)
		part, err := writer.CreatePart(header)
		if err == nil {
			_, err = part.Write(content)
		}
		if err != nil {
			return fmt.Errorf("write the form's data: %w", err)
		}
	}
	if err := writer.Close(); err != nil {
		return fmt.Errorf("write the form's data: %w", err)
	}
	v.body, v.contentType = body.Bytes(), writer.FormDataContentType()
	return nil
}

// fileType returns the media type of a file, from its name or its content.
func fileType(name string, content []byte) string {
	if name == "" {
		return "application/octet-stream" // as browsers do for an empty field
	}
	if byName := mime.TypeByExtension(filepath.Ext(name)); byName != "" {
		return byName
	}
	return http.DetectContentType(content)
}
