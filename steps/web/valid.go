package web

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/form"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// A browser does not send a form with a control that violates a rule of the page (HTML §4.10.22.3 step 6): the visitor sees a
// hint at the field, and nothing else happens.

// formState returns what decides about sending a form of the page.
func (p *page) formState(of *html.Node) form.State {
	p.formOf(of) // computes the owners
	return form.State{Owners: p.owners, Files: p.files, Typed: p.typed, Coding: form.Coding(of, p.coding())}
}

// valid returns the failure for a form that a browser would not send, over HTTP. cucumber-nagios sent it.
func (s *search) valid(w *steps.World, of, submitter *html.Node) error {
	if s.lax {
		return nil
	}
	p := s.page.at(of)
	invalid, unjudged := form.Check(p.doc, of, submitter, p.formState(of))
	if invalid != nil {
		return s.unsent(s.nameOf(invalid.Control), invalid.Rule)
	}
	if len(unjudged) > 0 {
		w.Note("not checked: the pattern of the field " + s.nameOf(unjudged[0]) + ", which only a browser can apply")
	}
	return nil
}

func (s *search) unsent(field, rule string) error {
	if rule == "required" {
		return s.failure(result.ReasonProtocol, result.BlameWeb, "a browser does not send the form: the field %s is required, and nothing is entered or chosen", field)
	}
	return s.failure(result.ReasonProtocol, result.BlameWeb, "a browser does not send the form: the field %s does not fit its rule %s", field, wording.Excerpt(rule))
}

// nameOf returns what a message calls a control.
func (s *search) nameOf(control *html.Node) string {
	var label string
	if labels := pagetree.Labels(s.page.doc)[control]; len(labels) > 0 {
		label = labels[0]
	}
	for _, key := range []string{"aria-label", "placeholder", "title", "name", "id"} {
		label = cmp.Or(label, pagetree.AttributeText(control, key))
	}
	if label == "" {
		return "without a name"
	}
	return wording.Quote(label)
}

// refused returns the failure for a form that the browser has not sent after an action on n.
func (s *search) refused(ctx context.Context, tab *browser.Tab, n *html.Node) error {
	unsent, err := tab.Unsent(ctx, s.element(n))
	var gone *browser.Refused
	if err != nil && !errors.As(err, &gone) {
		return browserFailure(ctx, err, s.act)
	}
	if unsent == nil {
		return nil
	}
	name := wording.Excerpt(unsent.Name)
	for control, e := range s.page.live.elements {
		if e == unsent.Element {
			name = s.nameOf(control)
		}
	}
	return s.unsent(name, unsent.Rule)
}
