package web

import (
	"context"
	"net/textproto"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences of http_header_steps in cucumber-nagios.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I fetch headers from {url}", Pattern: `^I fetch headers from "([^"\s]*)"$`, Compat: `I fetch headers from "([^"\s]*)"`, Also: []string{`/^I fetch headers from ([^"\s]+)$/`},
			Does:     "Loads a page as `I go to` does. Use the sentences about headers after it.",
			Measures: webMeasures, Example: `When I fetch headers from "https://www.example.org/"`, Func: goTo(false)},
		steps.Definition{Area: "web", Sentence: "the {text} header should be {text}",
			Does:    "Fails unless the response has this header with exactly this value. Several fields of the same name are joined with commas.",
			Example: `Then the "Content-Type" header should be "text/html; charset=utf-8"`, Func: headerShouldBe},
		steps.Definition{Area: "web", Sentence: "the response should contain the {text} header",
			Does:    "Fails unless the response has this header.",
			Example: `Then the response should contain the "Strict-Transport-Security" header`, Func: headerShouldExist},
		steps.Definition{Area: "web", Sentence: "the {text} header should contain {text}",
			Does:    "Fails unless the response has this header and the regular expression matches its value.",
			Example: `Then the "Server" header should contain "^nginx"`, Func: headerShouldContain(true)},
		steps.Definition{Area: "web", Sentence: "the {text} header should not contain {text}",
			Does:    "Fails when the response has this header and the regular expression matches its value.",
			Example: `Then the "X-Powered-By" header should not contain "PHP"`, Func: headerShouldContain(false)},
	)
}

// headerOf returns a header of the current page, fields of the same name joined (RFC 9110 §5.2), and whether it is
// present.
func headerOf(p *page, name string) (string, bool) {
	values := p.Header[textproto.CanonicalMIMEHeaderKey(name)]
	return strings.Join(values, ", "), values != nil
}

func headerShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	value, found := headerOf(p, a.Text(0))
	switch {
	case !found:
		return noHeader(p, a.Text(0))
	case value != a.Text(1):
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the header %q of %s to be %q, got %s", a.Text(0), p, a.Text(1), shownHeader(a.Text(0), value))
	}
	return nil
}

func headerShouldExist(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	if _, found := headerOf(p, a.Text(0)); !found {
		return noHeader(p, a.Text(0))
	}
	return nil
}

func headerShouldContain(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		p, err := currentPage(ctx, w)
		if err != nil {
			return err
		}
		re, err := steps.CompileRuby(a.Text(1))
		if err != nil {
			return err
		}
		value, found := headerOf(p, a.Text(0))
		switch matched := found && re.MatchString(value); {
		case matched == wanted:
			return nil
		case !found:
			return noHeader(p, a.Text(0))
		case wanted:
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the header %q of %s to match %q, got %s", a.Text(0), p, a.Text(1), shownHeader(a.Text(0), value))
		default:
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the header %q of %s not to match %q, got %s", a.Text(0), p, a.Text(1), shownHeader(a.Text(0), value))
		}
	}
}

func noHeader(p *page, name string) error {
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the header %q of %s: the response does not have it", name, p)
}

// shownHeader quotes a value, unless it may contain credentials.
func shownHeader(name, value string) string {
	if secretHeader(name) {
		return steps.Hidden
	}
	return wording.Quote(value)
}
