package web

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
)

func init() {
	registerWeb(steps.Definition{
		Area: "mail", Sentence: "the message appears on {url} within {duration}", Waits: true,
		Does: "Loads the page every second until its visible text contains the number of the last sent message. The number is at the end of the message's text, " +
			"so the text must be stepwatch's own. Fails when the page does not show the number in that time, counted from the start of this step.",
		Measures: "Time until the page showed the message, or the wait. Measures mail_to_web_seconds: from the acceptance of the message until then, exact to a second.",
		Example:  `Then the message appears on "https://www.example.org/requests" within 5 minutes`, Func: messageAppears,
	})
}

// appearsEvery is the pause between two loads of a page that is to show mail: a page costs an application more than
// NOOP costs a mail server.
const appearsEvery = time.Second

func messageAppears(ctx context.Context, w *steps.World, a steps.Args) error {
	within, err := a.Duration(1)
	if err != nil {
		return err
	}
	sent := steps.State[mail.Session](w).Last(nil)
	if sent == nil || sent.Accepted.IsZero() {
		return steps.FailScenario("no message was sent before this step: begin with `I send a message from \"alice\" to \"requests\" via 587`")
	}
	number := mail.MessageID(w.Run(), sent.Number)
	if !bytes.Contains(sent.Message, []byte(mail.NumberLine+number)) {
		return steps.FailScenario("the message has its own text, so it looks like that of an earlier run: remove its doc string")
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
			w.Measure("mail_to_web_seconds", "Time from the acceptance of a message until a page showed it.", time.Since(sent.Accepted).Seconds())
			return nil
		}
		select {
		case <-pause.C:
			continue
		case <-waiting.Done():
		}
		if err != nil || ctx.Err() != nil {
			return steps.FailNet(ctx, orDone(ctx, err), result.BlameWeb, "look for the message on "+u.String())
		}
		return steps.Fail(result.ReasonNotReceived, result.BlameWeb, "see the message to %s on %s within %s: the page does not show its number %s, %s after its acceptance",
			sent.To.Address, u, a.Text(1), number, time.Since(sent.Accepted).Round(time.Second))
	}
}

// orDone returns err, or if it is nil the reason why ctx is done.
func orDone(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}

// showsNumber loads a page and reports whether its text contains number.
func showsNumber(ctx context.Context, w *steps.World, v visit, number string) (bool, error) {
	e := engineOf(w)
	if err := e.load(ctx, w.Aside(), v); err != nil {
		return false, err
	}
	p, err := e.now(ctx, w)
	if err != nil || p == nil {
		return false, err
	}
	_, at, err := p.shows([]byte(number))
	return at >= 0, err
}
