package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/challenge"
)

// The sentences that log in with HTTP authentication (RFC 9110 section 11), without a form on a page. Credentials are
// sent only to the server they are for, and a name and password only after the server asks.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I authenticate to {url} as {text} with the secret {secret}",
			Does: "From now on logs in to the server at this address (scheme, host and port) when it asks: with digest authentication (RFC 7616) when the server offers it, otherwise with basic authentication (RFC 7617). " +
				"In a browser, Chromium chooses; it reads only the first challenge of each WWW-Authenticate field. " +
				"The secret is configured in stepwatch.yml.",
			Example: `Given I authenticate to "https://intranet.example.org/" as "alice" with the secret "intranet"`, Func: authenticate},
		steps.Definition{Area: "web", Sentence: "I authenticate to {url} with the secret token {secret}",
			Does: "From now on sends a token (RFC 6750, `Authorization: Bearer`) with each request to the server at this address (scheme, host and port), and to no other server. " +
				"The secret is configured in stepwatch.yml.",
			Example: `Given I authenticate to "https://api.example.org/" with the secret token "api"`, Func: authenticateByToken},
		steps.Definition{Area: "web", Sentence: "I am HTTP digest authenticated with the following credentials:",
			Does:    "From now on logs in with digest authentication (RFC 7616), with the first row of the table `| username | secret |`. The column `secret` names a secret in stepwatch.yml. A column `password` with the password itself still works, but is deprecated.",
			Example: "Given I am HTTP digest authenticated with the following credentials:\n  | username | secret |\n  | alice | intranet |", Func: useDigest},
	)
}

// webLogin is the login of a scenario at the servers of an origin.
type webLogin struct {
	browser.Login
	basic  bool              // the server asked for basic authentication
	digest *challenge.Digest // answers the challenge of the server, or nil
	origin string            // that sent the challenge
}

// webLogins are the logins of a scenario, the newest last.
type webLogins []*webLogin

// clone returns copies of the logins, each with its own record of what the server asked for.
func (l webLogins) clone() webLogins {
	cloned := make(webLogins, len(l))
	for i, login := range l {
		own := *login
		if own.digest != nil {
			asked := *own.digest
			own.digest = &asked
		}
		cloned[i] = &own
	}
	return cloned
}

// at returns the newest login for an address, or nil.
func (l webLogins) at(u *address.URL) *webLogin {
	for _, login := range slices.Backward(l) {
		if login.Origin == "" || login.Origin == u.Origin() {
			return login
		}
	}
	return nil
}

// logIn makes the scenario use this login from now on.
func logIn(ctx context.Context, w *steps.World, login browser.Login) error {
	if login.Password != "" {
		w.Redact(login.Username + ":" + login.Password) // as basic authentication encodes them
	}
	session := steps.State[httpSession](w)
	session.logins = append(session.logins, &webLogin{Login: login})
	if !w.InBrowser {
		return nil
	}
	tab, err := steps.State[browserSession](w).ready()
	if err != nil {
		return err
	}
	if err := tab.Login(ctx, login); err != nil {
		return browserFailure(ctx, err, "prepare the login")
	}
	return nil
}

func authenticate(ctx context.Context, w *steps.World, a steps.Args) error {
	origin, err := originOf(w, a.Text(0))
	if err != nil {
		return err
	}
	if a.Text(1) == "" || strings.Contains(a.Text(1), ":") {
		return steps.FailScenario("%q is not a valid HTTP user name: it is empty or contains a colon", a.Text(1))
	}
	secret, err := w.Secret(ctx, a.Text(2))
	if err != nil {
		return err
	}
	return logIn(ctx, w, browser.Login{Origin: origin, Username: a.Text(1), Password: secret.Reveal()})
}

func authenticateByToken(ctx context.Context, w *steps.World, a steps.Args) error {
	origin, err := originOf(w, a.Text(0))
	if err != nil {
		return err
	}
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	if strings.ContainsFunc(secret.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the secret %q contains characters that are not allowed in a token (RFC 6750 section 2.1), such as white space", a.Text(1))
	}
	return logIn(ctx, w, browser.Login{Origin: origin, Token: secret.Reveal()})
}

// originOf returns the origin of the server that an address names.
func originOf(w *steps.World, text string) (string, error) {
	base, err := baseOf(w)
	if err != nil {
		return "", err
	}
	u, err := against(base, text)
	if err != nil || !u.IsWeb() {
		return "", steps.FailScenario("%q is not the address of a server: write it as \"https://www.example.org/\"", address.Shown(text))
	}
	return u.Origin(), nil
}

func useDigest(ctx context.Context, w *steps.World, a steps.Args) error {
	if len(a.Table) < 2 {
		return steps.FailScenario("the step needs a table of two rows: | username | secret |, and the values below")
	}
	login := browser.Login{DigestOnly: true}
	found := false
	for i, column := range a.Table[0] {
		if i >= len(a.Table[1]) {
			break
		}
		cell := a.Table[1][i]
		switch column {
		case "username":
			login.Username = cell
		case "password":
			w.Redact(cell)
			login.Password, found = cell, true
		case "secret":
			secret, err := w.Secret(ctx, cell)
			if err != nil {
				return err
			}
			login.Password, found = secret.Reveal(), true
		default:
			return steps.FailScenario("the table has a column %q; its columns are username and secret (or password)", column)
		}
	}
	if login.Username == "" || !found {
		return steps.FailScenario("the table needs the columns username and secret (or password), with a username")
	}
	return logIn(ctx, w, login)
}

// authorize adds the credentials that the server is known to want to a request with this body.
func (l *webLogin) authorize(request *http.Request, to *address.URL, body []byte) {
	switch {
	case l.Token != "":
		request.Header.Set("Authorization", "Bearer "+l.Token)
	case l.basic:
		request.SetBasicAuth(l.Username, l.Password)
	case l.digest != nil && l.origin == to.Origin():
		request.Header.Set("Authorization", l.digest.Authorize(request.Method, request.RequestURI, body, l.Username, l.Password))
	}
}

// answer reads the challenges of a 401 response. It reports whether to send the request again with credentials; err says
// why no challenge can be answered. again means that credentials for an earlier challenge were refused.
func (l *webLogin) answer(u *address.URL, header http.Header, again bool) (bool, error) {
	if l.Token != "" || l.basic {
		return false, nil // the credentials were already sent
	}
	if fault := l.unanswerable(header); fault != nil {
		return false, fault
	}
	challenges := challenge.Read(header.Values("WWW-Authenticate"))
	if l.DigestOnly || challenge.Offers(challenges, "Digest") {
		d, err := challenge.NewDigest(challenges)
		switch {
		case err == nil && again && !d.Stale():
			return false, nil
		case err == nil:
			l.digest, l.origin = d, u.Origin()
			return true, nil
		case l.DigestOnly || !challenge.Offers(challenges, "Basic"):
			return false, fmt.Errorf("%w: it responds with 401 and %s", err, shownChallenges(header))
		}
	}
	l.basic = true
	return true, nil
}

// unanswerable returns why the login does not match what the server asks for, or nil.
func (l *webLogin) unanswerable(header http.Header) error {
	challenges := challenge.Read(header.Values("WWW-Authenticate"))
	switch {
	case l.Token != "":
	case l.DigestOnly && !challenge.Offers(challenges, "Digest"):
		return fmt.Errorf("the server does not offer digest authentication: it responds with 401 and %s", shownChallenges(header))
	case !challenge.Offers(challenges, "Digest") && !challenge.Offers(challenges, "Basic"):
		return fmt.Errorf("the server offers neither digest nor basic authentication: it responds with 401 and %s", shownChallenges(header))
	}
	return nil
}

// shownChallenges describes what a 401 response asks for.
func shownChallenges(header http.Header) string {
	asked := header.Values("WWW-Authenticate")
	if len(asked) == 0 {
		return "no WWW-Authenticate, which is required (RFC 9110 section 15.5.2)"
	}
	return fmt.Sprintf("WWW-Authenticate %.200q", strings.Join(asked, ", "))
}

// refusedLogin returns the failure for a 401 in a browser, or nil when the scenario has no login for that address.
func (s *browserSession) refusedLogin(w *steps.World, answer *browser.Request) error {
	u := address.Reported(answer.URL)
	login := steps.State[httpSession](w).logins.at(u)
	known := false
	for _, b := range s.basic {
		known = known || b.covers(u)
	}
	switch {
	case login == nil && !known:
		return nil
	case login != nil && !known:
		if err := login.unanswerable(answer.ResponseHeader); err != nil {
			return steps.Fail(result.ReasonAuth, result.BlameWeb, "%s %s: %w", answer.Method, cutURL(answer.URL), err)
		}
		if login.Token == "" && !s.tab.LoggedIn(answer.URL) {
			return steps.Fail(result.ReasonAuth, result.BlameWeb, "%s %s: the browser did not log in, because it cannot answer the challenge; it reads one challenge from each field, and the server responds with 401 and %s",
				answer.Method, cutURL(answer.URL), shownChallenges(answer.ResponseHeader))
		}
	}
	return steps.Fail(result.ReasonAuth, result.BlameWeb, "%s %s: the credentials were refused with %d %s", answer.Method, cutURL(answer.URL), answer.Status, answer.StatusText)
}
