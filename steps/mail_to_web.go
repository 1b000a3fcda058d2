package steps

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	registerWeb(Definition{
		Area: "mail", Sentence: "the message appears on {url} within {duration}", Waits: true,
		Does: "Loads the page again every second until its visible text has the number of the message that was sent last. The number ends the message's text, " +
			"which therefore has to be stepwatch's own. Fails when the page does not show it in that time, counted from this step on.",
		Measures: "Time until the page showed the message, or the wait. Measurement mail_to_web_seconds: from the message's acceptance until then, known to a second.",
		Example:  `Then the message appears on "https://www.example.org/requests" within 5 minutes`, Func: messageAppears,
	})
}

// appearsEvery is how often a page is loaded to see whether mail has come to it: an application does more for a page than a mail
// server for NOOP.
const appearsEvery = time.Second

func messageAppears(ctx context.Context, w *World, a Args) error {
	within, err := a.Duration(1)
	if err != nil {
		return err
	}
	sent := State[mail](w).last(nil)
	if sent == nil || sent.accepted.IsZero() {
		return scenarioFault("no message was sent before this step: begin with `I send a message from \"alice\" to \"requests\" via 587`")
	}
	number := messageID(w.Run(), sent.number)
	if !bytes.Contains(sent.message, []byte(numberLine+number)) {
		return scenarioFault("the message has a text of its own, by which it cannot be told from that of an earlier run: leave its doc string out")
	}
	u, err := resolve(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pause := time.NewTicker(appearsEvery)
	defer pause.Stop()
	for {
		shown, err := showsNumber(ctx, w, visit{method: http.MethodGet, url: u}, number)
		if shown {
			w.Measure("mail_to_web_seconds", "From the acceptance of a message until a page showed it.", time.Since(sent.accepted).Seconds())
			return nil
		}
		select {
		case <-pause.C:
			continue
		case <-waiting.Done():
		}
		if err != nil || ctx.Err() != nil {
			return FailNet(ctx, orDone(ctx, err), result.BlameWeb, "look for the message on "+shownURL(u))
		}
		return Fail(result.ReasonNotReceived, result.BlameWeb, "see the message to %s on %s within %s: the page does not show its number %s, %s after it was accepted",
			sent.to.Address, shownURL(u), a.Text(1), number, time.Since(sent.accepted).Round(time.Second))
	}
}

// orDone is err, or why ctx is over when there is none.
func orDone(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}

// showsNumber loads a page and says whether it shows a text.
func showsNumber(ctx context.Context, w *World, v visit, number string) (bool, error) {
	e := engineOf(w)
	if err := e.load(ctx, w.aside(), v); err != nil {
		return false, err
	}
	p, err := e.now(ctx)
	if err != nil || p == nil {
		return false, err
	}
	text, err := p.visibleText()
	return err == nil && bytes.Contains(text, []byte(number)), err
}
