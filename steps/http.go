package steps

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences of cucumber-nagios' http_steps, without a browser: documents are loaded, but not what they refer to, and
// no script runs. So the latency is the document's, not the page's.

const webMeasures = "Time to load the document, redirects included. Phases dns, connect, tls, processing, transfer, once for each request; " +
	"measurements http_status_code, http_redirects, http_content_length_bytes, tls_certificate_not_after_timestamp_seconds."

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "I go to {url}",
			Does:     "Loads a page: a whole address, or a path on the current host. Fails unless the final status is 2xx or 3xx. A redirect is followed while the last two labels of the host stay the same.",
			Measures: webMeasures, Example: `When I go to "https://www.example.org/"`, Func: goTo(false)},
		Definition{Area: "web", Sentence: "I visit {url}",
			Does:     "The same as `I go to`.",
			Measures: webMeasures, Example: `When I visit "https://www.example.org/"`, Func: goTo(false)},
		Definition{Area: "web", Sentence: "I try to go to {url}",
			Does:     "Loads a page as `I go to` does, and takes any status.",
			Measures: webMeasures, Example: `When I try to go to "https://www.example.org/no-such-page"`, Func: goTo(true)},
		Definition{Area: "web", Sentence: "I am HTTP digest authenticated with the following credentials:",
			Does:    "Answers digest authentication (RFC 7616) from now on, with the first row of a table `| username | secret |`. The secret is one of stepwatch.yml by name; a column `password` with the password itself is the old way.",
			Example: "Given I am HTTP digest authenticated with the following credentials:\n  | username | secret |\n  | alice | intranet |", Func: useDigest},

		Definition{Area: "web", Sentence: "I follow {text}",
			Does:     "Loads the page behind a link, found by its text, a part of it, its title, aria-label or id; the shortest text that fits wins. Fails when there is no such link or its page has a status outside 2xx and 3xx.",
			Measures: webMeasures, Example: `When I follow "Contact"`, Func: follow},
		Definition{Area: "web", Sentence: "I press {text}",
			Does:     "Presses a button, found by its id, text or value or the beginning of one, and loads what its form is answered with.",
			Measures: webMeasures, Example: `When I press "Log in"`, Func: press},
		Definition{Area: "web", Sentence: "I submit the form named {text}",
			Does:     "Submits a form without a button. The form is found by id, name or CSS selector.",
			Measures: webMeasures, Example: `When I submit the form named "login"`, Func: submit},
		Definition{Area: "web", Sentence: "I fill in {text} with {text}",
			Does:    "Fills in a text field, found by its id, name or label or the beginning of one.",
			Example: `When I fill in "E-mail" with "alice@example.org"`, Func: fillIn},
		Definition{Area: "web", Sentence: "I fill in {text} with the secret {text}",
			Does:    "Fills in a field with a secret of stepwatch.yml, which no output shows.",
			Example: `When I fill in "Password" with the secret "members"`, Func: fillInSecret},
		Definition{Area: "web", Sentence: "I select {text} from {text}",
			Does:    "Selects an option by its text, in a select field by its id, name or label.",
			Example: `When I select "Germany" from "Country"`, Func: selectFrom},
		Definition{Area: "web", Sentence: "I check {text}",
			Does:    "Checks a checkbox, found by its id, name or label.",
			Example: `When I check "Remember me"`, Func: check(true)},
		Definition{Area: "web", Sentence: "I uncheck {text}",
			Does:    "Unchecks a checkbox, found by its id, name or label.",
			Example: `When I uncheck "Remember me"`, Func: check(false)},
		Definition{Area: "web", Sentence: "I choose {text}",
			Does:    "Chooses a radio button, found by its id, label or value.",
			Example: `When I choose "Express"`, Func: chooseButton},
		Definition{Area: "web", Sentence: "I attach the file at {text} to {text}", Pattern: `^I attach the file at "(.*)" to "(.*)" ?$`,
			Does:    "Attaches a file of the machine that stepwatch runs on to a file field, found by its id, name or label.",
			Example: `When I attach the file at "/var/lib/stepwatch/photo.jpg" to "Photo"`, Func: attachFile},

		Definition{Area: "web", Sentence: "I should see {text}",
			Does:    "Fails unless the page's visible text has the text, white space and no-break spaces taken for one space. In a project marked as cucumber-nagios compatible it is a regular expression over the page's source.",
			Example: `Then I should see "Contact us"`, Func: see(true)},
		Definition{Area: "web", Sentence: "I should not see {text}",
			Does:    "Fails when the page's visible text has the text; see `I should see`.",
			Example: `Then I should not see "Internal error"`, Func: see(false)},
		Definition{Area: "web", Sentence: "I should see an {word} message", Pattern: `^I should see an? (\w+) message$`,
			Does:    "Fails unless the page shows an element of that class.",
			Example: `Then I should see an error message`, Func: seeMessage},
		Definition{Area: "web", Sentence: "the request should succeed", Pattern: `^the (?:.*) ?request should succeed`,
			Does:    "Fails unless the page's status is 2xx or 3xx. Words before and after the sentence are free.",
			Example: `Then the request should succeed`, Func: requestShould(true)},
		Definition{Area: "web", Sentence: "the request should fail", Pattern: `^the (?:.*) ?request should fail`,
			Does:    "Fails when the page's status is 2xx or 3xx. It comes after `I try to go to`.",
			Example: `Then the request should fail`, Func: requestShould(false)},
		Definition{Area: "web", Sentence: "the response status should be {int}",
			Does:    "Fails unless the page's status is that one. For 4xx and 5xx it comes after `I try to go to`.",
			Example: `Then the response status should be 404`, Func: statusShouldBe},
		Definition{Area: "web", Sentence: "I should be on {url}",
			Does:    "Fails unless the page's address, after redirects, is that one: a path, or a whole address. Query and fragment count when they are given.",
			Example: `Then I should be on "/members"`, Func: shouldBeOn},
		Definition{Area: "web", Sentence: "the page should load within {duration}",
			Does:    "Fails when loading the current page, redirects included, took longer.",
			Example: `Then the page should load within 2s`, Func: loadWithin},
	)
}

// currentPage gives the scenario's page; without one the scenario is out of order.
func currentPage(w *World) (*webSession, *page, error) {
	s := State[webSession](w)
	if s.page == nil {
		return nil, nil, scenarioFault("there is no page yet: write `I go to \"https://www.example.org/\"` before this step")
	}
	return s, s.page, nil
}

// registerWeb registers definitions that keep the current page as evidence when they fail.
func registerWeb(definitions ...Definition) {
	for i := range definitions {
		do := definitions[i].Func
		definitions[i].Func = func(ctx context.Context, w *World, a Args) error {
			err := do(ctx, w, a)
			if err != nil {
				if p := State[webSession](w).page; p != nil {
					p.attach(w)
				}
			}
			return err
		}
	}
	register(definitions...)
}

func goTo(anyStatus bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		s := State[webSession](w)
		u, err := s.resolve(w, a.Text(0))
		if err != nil {
			return err
		}
		return s.load(ctx, w, visit{method: http.MethodGet, url: u, anyStatus: anyStatus})
	}
}

func useDigest(ctx context.Context, w *World, a Args) error {
	if len(a.Table) < 2 {
		return scenarioFault("the step needs a table of two rows: | username | secret |, and the values beneath")
	}
	d := &digestAuth{}
	found := false
	for i, column := range a.Table[0] {
		if i >= len(a.Table[1]) {
			break
		}
		cell := a.Table[1][i]
		switch column {
		case "username":
			d.username = cell
		case "password":
			w.Redact(cell)
			d.password, found = NewSecret(cell), true
		case "secret":
			secret, err := w.Secret(ctx, cell)
			if err != nil {
				return err
			}
			d.password, found = secret, true
		default:
			return scenarioFault("the table has a column %q; its columns are username and secret (or password)", column)
		}
	}
	if d.username == "" || !found {
		return scenarioFault("the table needs the columns username and secret (or password), with a username")
	}
	State[webSession](w).digest = d
	return nil
}

// find begins a search on the current page.
func find(w *World, act, name string) (*webSession, *search, *html.Node, error) {
	s, p, err := currentPage(w)
	if err != nil {
		return nil, nil, nil, err
	}
	doc, err := p.tree()
	return s, &search{page: p, act: fmt.Sprintf("%s %q", act, name), name: name, lax: w.target.CucumberNagios}, doc, err
}

func follow(ctx context.Context, w *World, a Args) error {
	s, f, doc, err := find(w, "follow", a.Text(0))
	if err != nil {
		return err
	}
	link, err := f.findLink(doc)
	if err != nil {
		return err
	}
	href, _ := attribute(link, "href")
	href = strings.TrimSpace(href)
	to, err := s.page.base().Parse(href)
	if err != nil {
		return f.failure(result.ReasonUnexpected, result.BlameWeb, "the link points to %q, which is no URL", href)
	}
	switch strings.ToLower(to.Scheme) {
	case "javascript":
		return f.failure(result.ReasonScenario, result.BlameScenario, "the link runs a script; %s", needsBrowser)
	case "http", "https":
	default:
		return f.failure(result.ReasonScenario, result.BlameScenario, "the link is a %s: address; no page is behind it", to.Scheme)
	}
	if strings.HasPrefix(href, "#") {
		moved := *s.page.url
		moved.Fragment, moved.RawFragment = to.Fragment, to.RawFragment
		s.page.url = &moved
		return nil // a place on this very page
	}
	if err := mendHost(to); err != nil {
		return f.failure(result.ReasonUnexpected, result.BlameWeb, "the link points to %q: %v", href, err)
	}
	return s.load(ctx, w, visit{method: http.MethodGet, url: to, referrer: s.page.url})
}

func press(ctx context.Context, w *World, a Args) error {
	s, f, doc, err := find(w, "press", a.Text(0))
	if err != nil {
		return err
	}
	button, err := f.findButton(doc)
	if err != nil {
		return err
	}
	switch kind := buttonType(button); kind {
	case "button", "reset":
		return f.failure(result.ReasonScenario, result.BlameScenario, "a button of type=%s sends nothing by itself; %s", kind, needsBrowser)
	}
	form := s.page.formOf(button)
	if form == nil {
		return f.failure(result.ReasonScenario, result.BlameScenario, "the button belongs to no form; %s", needsBrowser)
	}
	v, err := f.submission(form, button)
	if err != nil {
		return err
	}
	return s.load(ctx, w, v)
}

func submit(ctx context.Context, w *World, a Args) error {
	s, f, doc, err := find(w, "submit the form named", a.Text(0))
	if err != nil {
		return err
	}
	form, err := f.findForm(doc)
	if err != nil {
		return err
	}
	v, err := f.submission(form, nil)
	if err != nil {
		return err
	}
	return s.load(ctx, w, v)
}

func fillIn(_ context.Context, w *World, a Args) error {
	return fill(w, a.Text(0), a.Text(1))
}

func fillInSecret(ctx context.Context, w *World, a Args) error {
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	return fill(w, a.Text(0), secret.Reveal())
}

func fill(w *World, name, value string) error {
	_, f, doc, err := find(w, "fill in", name)
	if err != nil {
		return err
	}
	field, err := f.findField(doc, kindText)
	if err != nil {
		return err
	}
	if kind, _ := attribute(field, "type"); strings.EqualFold(kind, "password") {
		w.Redact(value) // the next page may repeat it
	}
	return f.fill(field, value)
}

func selectFrom(_ context.Context, w *World, a Args) error {
	_, f, doc, err := find(w, "select", a.Text(0))
	if err != nil {
		return err
	}
	f.act, f.name = fmt.Sprintf("%s from %q", f.act, a.Text(1)), a.Text(1)
	field, err := f.findField(doc, kindSelect)
	if err != nil {
		return err
	}
	return f.selectOption(field, a.Text(0))
}

func check(on bool) func(context.Context, *World, Args) error {
	act := "uncheck"
	if on {
		act = "check"
	}
	return func(_ context.Context, w *World, a Args) error {
		_, f, doc, err := find(w, act, a.Text(0))
		if err != nil {
			return err
		}
		box, err := f.findField(doc, kindCheckbox)
		if err != nil {
			return err
		}
		removeAttribute(box, "checked")
		if on {
			setAttribute(box, "checked", "")
		}
		return nil
	}
}

func chooseButton(_ context.Context, w *World, a Args) error {
	_, f, doc, err := find(w, "choose", a.Text(0))
	if err != nil {
		return err
	}
	radio, err := f.findField(doc, kindRadio)
	if err != nil {
		return err
	}
	f.page.chooseRadio(radio)
	return nil
}

func attachFile(_ context.Context, w *World, a Args) error {
	_, f, doc, err := find(w, "attach to", a.Text(1))
	if err != nil {
		return err
	}
	info, err := os.Stat(a.Text(0))
	if err != nil {
		return f.failure(result.ReasonConfig, result.BlameScenario, "%v", err)
	}
	if !info.Mode().IsRegular() {
		return f.failure(result.ReasonConfig, result.BlameScenario, "%q is no regular file", a.Text(0))
	}
	field, err := f.findField(doc, kindFile)
	if err != nil {
		return err
	}
	if f.page.files == nil {
		f.page.files = map[*html.Node]string{}
	}
	f.page.files[field] = a.Text(0)
	return nil
}

func see(wanted bool) func(context.Context, *World, Args) error {
	return func(_ context.Context, w *World, a Args) error {
		_, p, err := currentPage(w)
		if err != nil {
			return err
		}
		if w.target.CucumberNagios {
			return seePattern(p, a.Text(0), wanted)
		}
		return seeText(p, a.Text(0), wanted)
	}
}

func seeText(p *page, text string, wanted bool) error {
	name := normalText(text)
	if name == "" {
		return scenarioFault("see %q: the text is empty", text)
	}
	visible, err := p.visibleText()
	if err != nil {
		return err
	}
	at := bytes.Index(visible, []byte(name))
	switch {
	case at >= 0 == wanted:
		return nil
	case !wanted:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the page shows it: %s", text, p, quoteAround(visible, at, len(name)))
	}
	why := "the page does not show it"
	switch folded := bytes.Index(bytes.ToLower(visible), bytes.ToLower([]byte(name))); {
	case folded >= 0 && folded+len(name) <= len(visible) && strings.EqualFold(string(visible[folded:folded+len(name)]), name):
		why = "the page shows it in other letters: " + quote(string(visible[folded:folded+len(name)]))
	case bytes.Contains(p.text(), []byte(text)), bytes.Contains(p.text(), []byte(html.EscapeString(text))):
		why = "only the page's source holds it, it is not visible"
	case len(visible) == 0:
		why = "the page shows no text at all"
	default:
		why += "; it begins " + quote(string(visible[:min(len(visible), 240)]))
	}
	return Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: %s", text, p, why)
}

// quoteAround quotes a place in a text with a little before and after it.
func quoteAround(text []byte, at, length int) string {
	from, to := max(0, at-20), min(len(text), at+length+20)
	return fmt.Sprintf("%q", "…"+strings.ToValidUTF8(string(text[from:to]), "")+"…")
}

// seePattern is the old meaning: a regular expression of Ruby over the source. There "." matches newlines (the old steps
// asked for that) and "^" and "$" match at every line.
func seePattern(p *page, pattern string, wanted bool) error {
	re, err := compileRuby(pattern)
	if err != nil {
		return err
	}
	switch matched := re.Match(p.text()); {
	case matched == wanted:
		return nil
	case wanted:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: the regular expression does not match the page's source", pattern, p)
	default:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the regular expression matches the page's source", pattern, p)
	}
}

func compileRuby(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?sm)" + pattern)
	if err != nil {
		return nil, scenarioFault("%q is no regular expression that can be used (RE2 syntax): %w", pattern, err)
	}
	return re, nil
}

func seeMessage(_ context.Context, w *World, a Args) error {
	_, f, doc, err := find(w, "see a message of class", a.Text(0))
	if err != nil {
		return err
	}
	hiddenOne := false
	for n := range doc.Descendants() {
		classes, _ := attribute(n, "class")
		if !slices.Contains(strings.Fields(classes), f.name) {
			continue
		}
		if f.lax || !isHidden(n) {
			return nil
		}
		hiddenOne = true
	}
	if hiddenOne {
		return f.failure(result.ReasonUnexpected, result.BlameWeb, "the element of that class is hidden")
	}
	return f.failure(result.ReasonUnexpected, result.BlameWeb, "the page has no element of that class")
}

func requestShould(succeed bool) func(context.Context, *World, Args) error {
	wanted := "to fail: wanted 4xx or 5xx"
	if succeed {
		wanted = "to succeed: wanted 2xx or 3xx"
	}
	return func(_ context.Context, w *World, _ Args) error {
		_, p, err := currentPage(w)
		if err != nil || p.accepted() == succeed {
			return err
		}
		return Fail(result.ReasonHTTPStatus, result.BlameWeb, "expect the request %s, got %s", wanted, p)
	}
}

func statusShouldBe(_ context.Context, w *World, a Args) error {
	_, p, err := currentPage(w)
	if err != nil {
		return err
	}
	wanted, err := a.Int(0)
	if err != nil || p.StatusCode == wanted {
		return err
	}
	return Fail(result.ReasonHTTPStatus, result.BlameWeb, "expect status %d, got %s", wanted, p)
}

func shouldBeOn(_ context.Context, w *World, a Args) error {
	_, p, err := currentPage(w)
	if err != nil {
		return err
	}
	wanted, err := url.Parse(a.Text(0))
	if err != nil || wanted.Host == "" && !strings.HasPrefix(wanted.Path, "/") {
		return scenarioFault("%q is neither a path nor a whole address: write it as \"/members\" or \"https://www.example.org/members\"", a.Text(0))
	}
	whole := *p.url.ResolveReference(wanted)
	whole.User = nil
	if err := mendHost(&whole); err != nil {
		return scenarioFault("%q: %w", a.Text(0), err)
	}
	if connKey(&whole) == connKey(p.url) && whole.EscapedPath() == p.url.EscapedPath() &&
		(wanted.RawQuery == "" || wanted.RawQuery == p.url.RawQuery) &&
		(wanted.Fragment == "" || wanted.Fragment == p.url.Fragment) {
		return nil
	}
	return Fail(result.ReasonUnexpected, result.BlameWeb, "expect to be on %s, am on %s", shownURL(&whole), p)
}

func loadWithin(_ context.Context, w *World, a Args) error {
	_, p, err := currentPage(w)
	if err != nil {
		return err
	}
	limit, err := a.Duration(0)
	if err != nil || p.took <= limit {
		return err
	}
	return Fail(result.ReasonSlow, result.BlameWeb, "load %s within %s: it took %s", p, a.Text(0), p.took.Round(time.Millisecond))
}
