package browser

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	chromelog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Workers run scripts of a page beside it: web workers, those that they start, and the page's service worker. The
// browser reports what they request and log in a session for each of them. These sessions are nested in that of the
// tab: chromedp passes on the messages of a tab only. A worker waits until we listen, so nothing is missed.
//
// A shared worker belongs to no tab, so the browser does not report what it does.

// maxWorkers is how many workers of one tab are listened to.
const maxWorkers = 100

// nesting makes the browser attach the workers of a session, and pause each of them until it is resumed.
var nesting = target.SetAutoAttachParams{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(bool)}

// worker is a worker that we listen to.
type worker struct {
	path []target.SessionID // of the sessions that lead to it, its own last
	kind string             // "worker", "service_worker"
	url  string             // of its script
}

// workerFor returns the worker with the session, or nil; t.mu is held.
func (t *Tab) workerFor(session target.SessionID) *worker {
	for _, w := range t.workers {
		if w.path[len(w.path)-1] == session {
			return w
		}
	}
	return nil
}

// attached begins to listen to a worker that parent, or else the page, started; t.mu is held.
func (t *Tab) attached(parent *worker, ev *target.EventAttachedToTarget) {
	if parent == nil && !ev.WaitingForDebugger {
		return // chromedp's own attaching
	}
	w := &worker{kind: ev.TargetInfo.Type, url: ev.TargetInfo.URL}
	if parent != nil {
		w.path = slices.Clone(parent.path)
	}
	w.path = append(w.path, ev.SessionID)
	var commands []call
	switch {
	case len(t.workers) == maxWorkers, w.kind == "iframe": // a frame of another site, in a browser that we did not start
		t.unheard++
	case w.kind == "worker", w.kind == "service_worker":
		t.workers = append(t.workers, w)
		commands = []call{{network.Enable.Method, nil}, {chromelog.Enable.Method, nil}, {runtime.Enable.Method, nil}, {target.SetAutoAttach.Method, nesting}}
	}
	go func() {
		// Errors do not matter: a worker that is gone needs no listener, and a tab that is gone ends its step.
		var all []func() error
		for i, c := range commands {
			all = append(all, func() error { return t.send(w.path, i+1, c) })
		}
		_ = together(all...)
		_ = t.send(w.path, len(commands)+1, call{runtime.RunIfWaitingForDebugger.Method, nil})
	}()
}

// call is a command to a worker.
type call struct {
	method string
	params any
}

// send sends a command to the worker at the end of a path of sessions.
func (t *Tab) send(path []target.SessionID, id int, c call) error {
	type through struct {
		SessionID target.SessionID `json:"sessionId"`
		Message   string           `json:"message"`
	}
	const method = "Target.sendMessageToTarget" // which cdproto leaves out as deprecated; nesting has no other way
	for i := len(path) - 1; i >= 0; i-- {
		params, err := jsonv2.Marshal(c.params, chromedp.DefaultMarshalOptions)
		if err != nil {
			return fmt.Errorf("send %s to a worker: %w", c.method, err)
		}
		message := cdproto.Message{ID: int64(id), Method: cdproto.MethodType(c.method)}
		if c.params != nil {
			message.Params = params
		}
		text, err := jsonv2.Marshal(&message, chromedp.DefaultMarshalOptions)
		if err != nil {
			return fmt.Errorf("send %s to a worker: %w", c.method, err)
		}
		c = call{method, through{path[i], string(text)}}
	}
	return t.session.Call(t.life, c.method, c.params, nil)
}

// told handles a message of a worker's session; t.mu is held. It reports whether something changed.
func (t *Tab) told(ev *target.EventReceivedMessageFromTarget) bool {
	w := t.workerFor(ev.SessionID)
	var message cdproto.Message
	if w == nil || json.Unmarshal([]byte(ev.Message), &message) != nil || message.Method == "" {
		return false
	}
	inner, err := cdproto.UnmarshalMessage(&message, chromedp.DefaultUnmarshalOptions)
	if err != nil {
		return false // an event that this version of cdproto does not know
	}
	switch inner := inner.(type) {
	case *target.EventAttachedToTarget:
		t.attached(w, inner)
	case *target.EventReceivedMessageFromTarget:
		return t.told(inner)
	case *chromelog.EventEntryAdded:
		return t.happened(inner)
	case *runtime.EventConsoleAPICalled, *runtime.EventExceptionThrown:
		return w.kind == "service_worker" && t.happened(inner) // the page's own log has those of other workers
	default:
		if message.Method.Domain() == "Network" {
			return t.happened(inner)
		}
	}
	return false
}

// scriptless records that the script of the newest service worker failed to load, which the worker's own session may
// end too early to report; t.mu is held.
func (t *Tab) scriptless(why string) {
	for _, w := range slices.Backward(t.workers) {
		if w.kind != "service_worker" {
			continue
		}
		r := t.newRequest(network.RequestID("script of "+w.url), w.url, "GET", "Script")
		if i := slices.IndexFunc(t.requests, func(r *Request) bool { return r.byWorker && r.URL == w.url }); i >= 0 {
			r = t.requests[i]
		} else {
			t.record(r, "")
		}
		if r.Status < 400 {
			r.Failed = why
		}
		return
	}
}

// socket records what the browser reports about a WebSocket; t.mu is held. It reports whether ev is about one.
func (t *Tab) socket(ev any) bool {
	switch ev := ev.(type) {
	case *network.EventWebSocketCreated:
		t.record(t.newRequest(ev.RequestID, ev.URL, "GET", "WebSocket"), "")
	case *network.EventWebSocketWillSendHandshakeRequest:
		if r := t.byID[ev.RequestID]; r != nil && ev.Request != nil {
			r.Header, r.began = header(ev.Request.Headers), ev.Timestamp.Float64()
		}
	case *network.EventWebSocketHandshakeResponseReceived:
		if r := t.byID[ev.RequestID]; r != nil && ev.Response != nil {
			r.Status, r.StatusText, r.ResponseHeader = int(ev.Response.Status), ev.Response.StatusText, header(ev.Response.Headers)
			r.Done, r.ended = true, ev.Timestamp.Float64() // what follows is not a response
		}
	case *network.EventWebSocketFrameError:
		if r := t.byID[ev.RequestID]; r != nil {
			r.Failed, r.ended = ev.ErrorMessage, ev.Timestamp.Float64()
		}
	default:
		return false
	}
	return true
}
