package browser

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
)

// A dialog blocks its page until it is answered, so each one is answered as it opens: as AnswerNext determined, or else
// with the answer that does nothing. An alert is closed and leaving a page is allowed; any other dialog is dismissed.

// maxDialogs is how many dialogs of one tab are kept.
const maxDialogs = 50

// asks records a dialog and returns the answer to it; t.mu is held.
func (t *Tab) asks(ev *page.EventJavascriptDialogOpening) Reply {
	root := t.root()
	if root != t {
		root.mu.Lock()
		defer root.mu.Unlock()
	}
	d := &Dialog{Kind: string(ev.Type), Message: cut(ev.Message), opened: time.Now()}
	reply := Reply{Accept: ev.Type == page.DialogTypeAlert || ev.Type == page.DialogTypeBeforeunload}
	if len(root.replies) > 0 && ev.Type != page.DialogTypeBeforeunload {
		d.Expected, reply, root.replies = true, root.replies[0], root.replies[1:]
	}
	if reply.Text == "" {
		reply.Text = ev.DefaultPrompt
	}
	d.Accepted = reply.Accept
	t.asking = d
	if len(root.dialogs) < maxDialogs {
		root.dialogs = append(root.dialogs, d)
	}
	return reply
}

func (t *Tab) answer(ev *page.EventJavascriptDialogOpening, reply Reply) {
	ctx, cancel := context.WithTimeout(t.life, 10*time.Second)
	defer cancel()
	params := page.HandleJavaScriptDialogParams{Accept: reply.Accept}
	if ev.Type == page.DialogTypePrompt {
		params.PromptText = reply.Text
	}
	_, _ = cdp.Call(ctx, t.session, page.HandleJavaScriptDialog, params) // a dialog that is gone needs no answer
}

// answered records that the open dialog was closed; t.mu is held.
func (t *Tab) answered() {
	root := t.root()
	if root != t {
		root.mu.Lock()
		defer root.mu.Unlock()
	}
	if t.asking != nil {
		t.asking.Took, t.asking = time.Since(t.asking.opened), nil
	}
}

// AnswerNext sets the answer to the next dialog without one, in this tab or one of its windows.
func (t *Tab) AnswerNext(reply Reply) {
	root := t.root()
	root.mu.Lock()
	defer root.mu.Unlock()
	root.replies = append(root.replies, reply)
}

// Dialogs returns the dialogs that the pages of this tab and its windows opened, the first 50.
func (t *Tab) Dialogs() []Dialog {
	root := t.root()
	root.mu.Lock()
	defer root.mu.Unlock()
	dialogs := make([]Dialog, len(root.dialogs))
	for i, d := range root.dialogs {
		dialogs[i] = *d
	}
	return dialogs
}
