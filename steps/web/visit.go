package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The actions of a visitor over HTTP alone: a page is a document that changes only by filling in fields. Actions that
// need a script are rejected with an explanation.

func (s *httpSession) now(ctx context.Context, w *steps.World) (*page, error) {
	if s.page != nil {
		s.page.reading = readingIn(ctx, w)
	}
	return s.page, nil
}

// await returns false: no script runs, so a page does not change.
func (s *httpSession) await(context.Context, *steps.World) bool { return false }

// settle does nothing: no script runs, so a page is always at rest.
func (s *httpSession) settle(context.Context, *steps.World) error { return nil }

// complete does nothing: the step that loads a page loads its frames.
func (s *httpSession) complete(context.Context) error { return nil }

func (s *httpSession) follow(ctx context.Context, w *steps.World, f *search, link *html.Node) error {
	to, err := s.target(f, link)
	if err != nil {
		return err
	}
	from := s.page.at(link)
	if to.Fragment != "" && to.WithoutFragment().Href() == from.url.WithoutFragment().Href() {
		if from != s.page {
			return nil // a fragment in the frame
		}
		s.page.url = to
		return nil // a fragment of this page
	}
	target, _ := pagetree.Attribute(link, "target")
	return s.navigate(ctx, w, from, target, visit{method: http.MethodGet, url: to, referrer: from.url})
}

// target returns the address that a link leads to.
func (s *httpSession) target(f *search, link *html.Node) (*address.URL, error) {
	href, _ := pagetree.Attribute(link, "href")
	from := s.page.at(link)
	to, err := from.base().Join(href, from.coding())
	if err != nil {
		return nil, f.failure(result.ReasonUnexpected, result.BlameWeb, "the link points to %s, which is not an address: %v", wording.Quote(address.Shown(strings.TrimSpace(href))), err)
	}
	switch to.Scheme {
	case "javascript":
		return nil, f.failure(result.ReasonScenario, result.BlameScenario, "the link runs a script; %s", needsBrowser)
	case "http", "https":
	default:
		return nil, f.failure(result.ReasonScenario, result.BlameScenario, "the link is a %s: address, which leads to no page", to.Scheme)
	}
	return to, nil
}

func (s *httpSession) press(ctx context.Context, w *steps.World, f *search, button *html.Node) error {
	form, err := s.formSentBy(f, button)
	if err != nil {
		return err
	}
	return s.send(ctx, w, f, form, button)
}

// formSentBy returns the form that a button submits.
func (s *httpSession) formSentBy(f *search, button *html.Node) (*html.Node, error) {
	switch kind := pagetree.ButtonType(button); kind {
	case "button", "reset":
		return nil, f.failure(result.ReasonScenario, result.BlameScenario, "a button of type=%s does not submit a form; %s", kind, needsBrowser)
	}
	form := s.page.at(button).formOf(button)
	if form == nil {
		return nil, f.failure(result.ReasonScenario, result.BlameScenario, "the button belongs to no form; %s", needsBrowser)
	}
	return form, nil
}

// click does the default action of an element: a link loads a page, a button submits its form, a summary opens its
// details.
func (s *httpSession) click(ctx context.Context, w *steps.World, f *search, n *html.Node) error {
	switch {
	case pagetree.IsLink(n):
		return s.follow(ctx, w, f, n)
	case pagetree.ButtonType(n) != "":
		return s.press(ctx, w, f, n)
	case n.DataAtom == atom.Summary:
		if _, open := pagetree.Attribute(n.Parent, "open"); open {
			pagetree.RemoveAttribute(n.Parent, "open")
		} else {
			pagetree.SetAttribute(n.Parent, "open", "")
		}
		s.page.forgetText()
		s.loadFrames(ctx, w) // those that are visible now
		return nil
	}
	return f.onlyByScript(n)
}

func (s *search) onlyByScript(n *html.Node) error {
	return s.failure(result.ReasonScenario, result.BlameScenario, "a click on <%s> needs a script; %s", n.Data, needsBrowser)
}

func (s *httpSession) submit(ctx context.Context, w *steps.World, f *search, form *html.Node) error {
	return s.send(ctx, w, f, form, nil)
}

func (s *httpSession) send(ctx context.Context, w *steps.World, f *search, form, button *html.Node) error {
	if err := f.valid(w, form, button); err != nil {
		return err
	}
	v, err := f.submission(form, button)
	if err != nil {
		return err
	}
	if sandboxed(form, "allow-forms") {
		return f.failure(result.ReasonUnexpected, result.BlameWeb, "the form is in a frame whose sandbox does not allow forms")
	}
	return s.navigate(ctx, w, s.page.at(form), pagetree.FormSetting(form, button, "target"), v)
}

// fill replaces the value of a text field, like typing over it.
func (s *httpSession) fill(_ context.Context, f *search, field *html.Node, text string) (string, error) {
	value := pagetree.Taken(field, text)
	if value == "" && text != "" {
		return "", f.failure(result.ReasonNotFound, result.BlameWeb, "the field does not accept the text")
	}
	p := s.page.at(field)
	if _, again := p.typed[field]; !again {
		if p.typed == nil {
			p.typed = map[*html.Node]string{}
		}
		p.typed[field], _ = pagetree.Attribute(field, "value")
	}
	if field.DataAtom == atom.Textarea {
		for field.FirstChild != nil {
			field.RemoveChild(field.FirstChild)
		}
		field.AppendChild(&html.Node{Type: html.TextNode, Data: value})
		return value, nil
	}
	pagetree.SetAttribute(field, "value", value)
	return value, nil
}

// selectOption selects an option, and deselects the others in a single-choice field.
func (s *httpSession) selectOption(_ context.Context, _ *search, option *html.Node) error {
	field := option.Parent
	for field != nil && field.DataAtom != atom.Select {
		field = field.Parent
	}
	if _, multiple := pagetree.Attribute(field, "multiple"); !multiple {
		for _, o := range pagetree.Options(field) {
			pagetree.RemoveAttribute(o, "selected")
		}
	}
	pagetree.SetAttribute(option, "selected", "")
	return nil
}

func (s *httpSession) check(_ context.Context, _ *search, box *html.Node, on bool) error {
	switch {
	case pagetree.KindOf(box) == pagetree.KindRadio:
		s.page.at(box).chooseRadio(box)
	case on:
		pagetree.SetAttribute(box, "checked", "")
	default:
		pagetree.RemoveAttribute(box, "checked")
	}
	return nil
}

func (s *httpSession) attach(_ context.Context, _ *search, field *html.Node, path string) error {
	p := s.page.at(field)
	if p.files == nil {
		p.files = map[*html.Node]string{}
	}
	p.files[field] = path
	return nil
}

// back loads the previous page again; its form data is sent again only when the method was GET.
func (s *httpSession) back(ctx context.Context, w *steps.World) error {
	for last := len(s.visits) - 1; last > 0 && s.visits[last].frame != nil; last-- {
		v := s.visits[last]
		s.visits = s.visits[:last]
		if s.page != nil && pagetree.Holds(s.page.doc, v.frame) {
			return s.returnInto(ctx, w, v)
		}
	}
	s.visits = slices.DeleteFunc(s.visits, func(v visit) bool { return v.frame != nil })
	if len(s.visits) < 2 {
		return steps.FailScenario("go back: there is no previous page")
	}
	before := s.visits[len(s.visits)-2]
	s.visits = s.visits[:len(s.visits)-2]
	if before.method != http.MethodGet {
		before = visit{method: http.MethodGet, url: before.url, anyStatus: before.anyStatus}
	}
	return s.load(ctx, w, before)
}

func (s *httpSession) reload(ctx context.Context, w *steps.World) error {
	if len(s.visits) == 0 || s.page == nil {
		return noPage()
	}
	for s.visits[len(s.visits)-1].frame != nil {
		s.visits = s.visits[:len(s.visits)-1]
	}
	again := s.visits[len(s.visits)-1]
	s.visits = s.visits[:len(s.visits)-1]
	return s.load(ctx, w, visit{method: http.MethodGet, url: s.page.url.WithoutFragment(), anyStatus: again.anyStatus, way: s.page.way})
}
