package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/cascadia"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/form"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// needsBrowser is the end of every message about something that only a script can do.
const needsBrowser = "that needs a browser: tag the scenario @browser"

// formOf returns the form that owns a control of this document, or nil.
func (p *page) formOf(control *html.Node) *html.Node {
	if p.owners == nil {
		var source []byte
		if p.live == nil {
			source = p.text()
		}
		p.owners = form.Owners(p.doc, source)
	}
	return p.owners[control]
}

// findForm finds a form by id, name or CSS selector.
func (s *search) findForm(doc *html.Node) (*html.Node, error) {
	s.kind = "form"
	var forms []candidate
	for n := range s.nodes(doc) {
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

// submission returns the visit that submits a form (HTML §4.10.22.3). submitter is the pressed button, or nil.
func (s *search) submission(of, submitter *html.Node) (visit, error) {
	setting := func(key string) string { return pagetree.FormSetting(of, submitter, key) }
	p := s.page.at(of)
	to := p.url
	if action := setting("action"); action != "" {
		var err error
		if to, err = p.base().Join(action, p.coding()); err != nil {
			return visit{}, s.failure(result.ReasonUnexpected, result.BlameWeb, "the form's action %s is not an address: %v", wording.Quote(address.Shown(action)), err)
		}
	}
	if to.Scheme == "javascript" {
		return visit{}, s.failure(result.ReasonScenario, result.BlameScenario, "the form is sent by a script; %s", needsBrowser)
	}
	if err := loadable(to); err != nil {
		return visit{}, s.failure(result.ReasonUnexpected, result.BlameWeb, "the form's action %s: %v", wording.Quote(address.Shown(setting("action"))), err)
	}
	v := visit{method: http.MethodGet, url: to, referrer: p.url}
	state := p.formState(of)
	list := form.Entries(p.doc, of, submitter, state)
	switch strings.ToLower(setting("method")) {
	case "post":
		v.method = http.MethodPost
	case "dialog":
		return visit{}, s.failure(result.ReasonScenario, result.BlameScenario, "the form closes a dialog; %s", needsBrowser)
	default:
		asked := *to
		asked.Query = "?" + form.URLEncoded(list, state.Coding)
		v.url = &asked
		return v, nil
	}
	switch strings.ToLower(setting("enctype")) {
	case "multipart/form-data":
		var err error
		if v.body, v.contentType, err = form.Multipart(list, state.Coding); err != nil {
			return visit{}, s.failure(result.ReasonConfig, result.BlameScenario, "%v", err)
		}
	case "text/plain":
		v.body, v.contentType = form.Text(list, state.Coding), "text/plain"
	default:
		v.body, v.contentType = []byte(form.URLEncoded(list, state.Coding)), "application/x-www-form-urlencoded"
	}
	return v, nil
}
