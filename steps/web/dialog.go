package web

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about dialogs, which only a browser has, and about the window that a scenario acts on.

func init() {
	const before = " Use it before the step that opens the dialog. It applies to one dialog." + onlyBrowser
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I accept the next dialog",
			Does: "Accepts the next dialog that a page opens, like its button OK; a prompt gets its default text. Without this step an alert is closed, any other dialog is dismissed, " +
				"and the failure of a later step mentions it." + before,
			Example: `When I accept the next dialog`, Func: replyWith(func(steps.Args) browser.Reply { return browser.Reply{Accept: true} })},
		steps.Definition{Area: "web", Sentence: "I answer the next dialog with {text}",
			Does:    "Accepts the next dialog that a page opens, and enters this answer in a prompt." + before,
			Example: `When I answer the next dialog with "Tea"`, Func: replyWith(func(a steps.Args) browser.Reply { return browser.Reply{Accept: true, Text: a.Text(0)} })},
		steps.Definition{Area: "web", Sentence: "I dismiss the next dialog",
			Does:    "Dismisses the next dialog that a page opens, like its button Cancel." + before,
			Example: `When I dismiss the next dialog`, Func: replyWith(func(steps.Args) browser.Reply { return browser.Reply{} })},
		steps.Definition{Area: "web", Sentence: "the dialog said {text}",
			Does:    "Fails unless the last dialog that a page opened in this scenario contained this text. The dialog is already closed." + onlyBrowser,
			Example: `Then the dialog said "Delete the order?"`, Func: dialogSaid},
		steps.Definition{Area: "web", Sentence: "there was no dialog",
			Does:    "Fails when a page opened a dialog in this scenario." + atRest + onlyBrowser,
			Example: `Then there was no dialog`, Func: noDialog},
	)
}

func replyWith(reply func(steps.Args) browser.Reply) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		tab, err := dialogsOf(w)
		if err == nil {
			tab.AnswerNext(reply(a))
		}
		return err
	}
}

func dialogsOf(w *steps.World) (*browser.Tab, error) {
	if !w.InBrowser {
		return nil, steps.FailScenario("a page opens dialogs only with a script; %s", needsBrowser)
	}
	return steps.State[browserSession](w).ready()
}

func dialogSaid(ctx context.Context, w *steps.World, a steps.Args) error {
	text := pagetree.Normal(a.Text(0))
	if text == "" {
		return steps.FailScenario("expect the dialog to say %q: the text is empty", a.Text(0))
	}
	tab, err := dialogsOf(w)
	if err != nil {
		return err
	}
	return eventually(ctx, w, func(_ webEngine, p *page) error {
		dialogs := tab.Dialogs()
		if len(dialogs) == 0 {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the dialog to say %q on %s: no page opened one", a.Text(0), p)
		}
		last := dialogs[len(dialogs)-1]
		if strings.Contains(pagetree.Normal(last.Message), text) {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the dialog to say %q on %s: the %s said %s", a.Text(0), p, last.Kind, wording.Quote(pagetree.Normal(last.Message)))
	})
}

func noDialog(ctx context.Context, w *steps.World, _ steps.Args) error {
	tab, err := dialogsOf(w)
	if err != nil {
		return err
	}
	waiting, cancel := patience(ctx, waitInBrowser(w))
	defer cancel()
	if err := engineOf(w).settle(waiting, w); err != nil {
		return err
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	for _, d := range tab.Dialogs() {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect no dialog on %s: the %s said %s", p, d.Kind, wording.Quote(pagetree.Normal(d.Message)))
	}
	return nil
}

// tellDialogs reports the dialogs of the step, with their texts. It returns the error of the step, with the last dialog
// that no step had answered, as a likely cause.
func (s *browserSession) tellDialogs(w *steps.World, err error) error {
	if s.tab == nil {
		return err
	}
	dialogs := s.tab.Dialogs()
	for _, d := range dialogs[min(s.told, len(dialogs)):] {
		answer := "dismissed"
		if d.Accepted {
			answer = "accepted"
		}
		w.Phase("dialog", d.Took.Round(time.Microsecond), fmt.Sprintf("%s %s, %s", d.Kind, wording.Quote(pagetree.Normal(d.Message)), answer))
	}
	s.told = len(dialogs)
	var failure *steps.Failure
	if !errors.As(err, &failure) || failure.Blame != result.BlameWeb {
		return err
	}
	for i := len(dialogs) - 1; i >= 0; i-- {
		d := dialogs[i]
		if d.Expected || strings.Contains(err.Error(), wording.Quote(pagetree.Normal(d.Message))) {
			continue
		}
		why := "the page opened the " + d.Kind + " " + wording.Quote(pagetree.Normal(d.Message))
		if !d.Accepted {
			why += ", which was dismissed because no step answers it (`I accept the next dialog`)"
		}
		return steps.Fail(failure.Reason, failure.Blame, "%w; %s", err, why)
	}
	return err
}

// look switches to another window.
func (s *browserSession) look(tab *browser.Tab) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tab = tab
}
