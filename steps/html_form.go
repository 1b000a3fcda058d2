package steps

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
)

// needsBrowser is the end of every message about something that only a script can do.
const needsBrowser = "that needs a browser: tag the scenario @browser"

// formOf returns the form that owns a control (HTML §4.10.18.3), or nil. It computes all owners at once, since a page
// may have a hundred thousand controls.
func (p *page) formOf(control *html.Node) *html.Node {
	if p.owners == nil {
		p.owners = map[*html.Node]*html.Node{}
		for document := range documents(p.doc) {
			p.assignForms(document, nil, nil, elementsByID(document))
		}
	}
	return p.owners[control]
}

// assignForms records the owner of each control below n. form is the form around n. loose is a form written between a
// table and its rows: the parser leaves it there empty, but browsers still assign the controls after it to it.
func (p *page) assignForms(n, form, loose *html.Node, ids map[string]*html.Node) {
	for c := range n.ChildNodes() {
		if c.Type != html.ElementNode || holdsDocument(c) {
			continue
		}
		if c.DataAtom == atom.Form {
			if c.FirstChild == nil && parents[n.DataAtom] != nil {
				loose = c
			}
			p.assignForms(c, c, loose, ids)
			continue
		}
		if buttonType(c) != "" || kindOf(c) != "" || isHiddenInput(c) {
			owner := cmp.Or(form, loose)
			if id, found := attribute(c, "form"); found {
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
		id, _ := attribute(n, "id")
		name, _ := attribute(n, "name")
		if name != "" && name == s.name {
			c.fits(rankName, name)
		}
		switch {
		case id != "":
			c.shown = quote(id)
		case name != "":
			c.shown = quote(name)
		default:
			action, _ := attribute(n, "action")
			c.shown = "one for " + quote(action)
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

func setAttribute(n *html.Node, key, value string) {
	removeAttribute(n, key)
	n.Attr = append(n.Attr, html.Attribute{Key: key, Val: value})
}

func removeAttribute(n *html.Node, key string) {
	n.Attr = slices.DeleteFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// optionText returns the visible text of an option.
func optionText(option *html.Node) string {
	if label, _ := attribute(option, "label"); label != "" {
		return normalText(label)
	}
	return labelOf(option)
}

func optionValue(option *html.Node) string {
	if value, found := attribute(option, "value"); found {
		return value
	}
	return labelOf(option)
}

// optionDisabled reports whether an option or its group is disabled.
func optionDisabled(option *html.Node) bool {
	_, disabled := attribute(option, "disabled")
	if group := option.Parent; !disabled && group != nil && group.DataAtom == atom.Optgroup {
		_, disabled = attribute(group, "disabled")
	}
	return disabled
}

func options(field *html.Node) []*html.Node {
	var found []*html.Node
	for n := range field.Descendants() {
		if n.DataAtom == atom.Option {
			found = append(found, n)
		}
	}
	return found
}

// findOption finds the option with this text in a select field.
func (s *search) findOption(field *html.Node, wanted string) (*html.Node, error) {
	text := normalText(wanted)
	var found *html.Node
	var all []candidate
	for _, fold := range []bool{false, true} {
		for _, o := range options(field) {
			own := optionText(o)
			if !fold {
				all = append(all, candidate{shown: quote(own)})
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
	case optionDisabled(found):
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the option is disabled")
	}
	return found, nil
}

// chooseRadio checks a radio button and unchecks the others of its group.
func (p *page) chooseRadio(radio *html.Node) {
	group, _ := attribute(radio, "name")
	form := p.formOf(radio)
	for n := range own(documentOf(radio)) {
		if name, _ := attribute(n, "name"); group != "" && kindOf(n) == kindRadio && name == group && p.formOf(n) == form {
			removeAttribute(n, "checked")
		}
	}
	setAttribute(radio, "checked", "")
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
	for n := range own(p.doc) {
		isButton := buttonType(n) != ""
		if !isButton && kindOf(n) == "" && !isHiddenInput(n) || isButton && n != submitter ||
			p.formOf(n) != form || isDisabled(n) || inDatalist(n) {
			continue
		}
		name, _ := attribute(n, "name")
		value, valued := attribute(n, "value")
		kind := kindOf(n)
		if buttonType(n) == "image" {
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
		case kindSelect:
			for _, o := range selected(n) {
				list = append(list, entry{name: name, value: optionValue(o)})
			}
		case kindCheckbox, kindRadio:
			if _, checked := attribute(n, "checked"); checked {
				if !valued {
					value = "on"
				}
				list = append(list, entry{name: name, value: value})
			}
		case kindFile:
			list = append(list, entry{name: name, file: p.files[n], isFile: true})
		default:
			if n.DataAtom == atom.Textarea {
				value = textareaValue(n)
			}
			if isHiddenInput(n) && strings.EqualFold(name, "_charset_") {
				value = p.charsetName()
			}
			list = append(list, entry{name: name, value: value})
		}
	}
	return list
}

func isHiddenInput(n *html.Node) bool {
	kind, _ := attribute(n, "type")
	return n.DataAtom == atom.Input && strings.EqualFold(kind, "hidden")
}

func inDatalist(n *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n.DataAtom == atom.Datalist {
			return true
		}
	}
	return false
}

// selected returns the options that a select field sends. A drop-down without a selected option shows and sends its
// first.
func selected(field *html.Node) []*html.Node {
	var chosen, enabled []*html.Node
	for _, o := range options(field) {
		if _, is := attribute(o, "selected"); is {
			chosen = append(chosen, o)
		}
		if !optionDisabled(o) {
			enabled = append(enabled, o)
		}
	}
	_, multiple := attribute(field, "multiple")
	if size, _ := attribute(field, "size"); !multiple {
		switch {
		case len(chosen) > 1:
			chosen = chosen[len(chosen)-1:]
		case len(chosen) == 0 && len(enabled) > 0 && (size == "" || size == "1"):
			chosen = enabled[:1]
		}
	}
	return slices.DeleteFunc(chosen, optionDisabled)
}

func textareaValue(n *html.Node) string {
	var b strings.Builder
	for c := range n.ChildNodes() {
		b.WriteString(c.Data)
	}
	return b.String()
}

func (p *page) charsetName() string {
	if p.encoding == nil {
		return "UTF-8"
	}
	return strings.ToUpper(fmt.Sprint(p.encoding))
}

// submission returns the visit that submits a form (HTML §4.10.21.3). submitter is the pressed button, or nil.
func (s *search) submission(form, submitter *html.Node) (visit, error) {
	setting := func(key string) string { return formSetting(form, submitter, key) }
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

// formSetting returns an attribute of a form, or the one of the pressed button that overrides it.
func formSetting(form, submitter *html.Node, key string) string {
	if submitter != nil {
		if value, found := attribute(submitter, "form"+key); found {
			return strings.TrimSpace(value)
		}
	}
	value, _ := attribute(form, key)
	return strings.TrimSpace(value)
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
