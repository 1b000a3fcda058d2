package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/har"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// The evidence of a failed web step: the page and its requests, in a browser also a picture and the console.

// mostExchanges is how many requests of a scenario without a browser are kept as evidence, the last ones.
const mostExchanges = 200

// evidenceGrace is how long after the scenario's deadline the page may still be recorded.
const evidenceGrace = 600 * time.Millisecond

// headerSize returns about how many bytes of memory a header takes.
func headerSize(h http.Header) (size int64) {
	const perField = 100
	for name, values := range h {
		size += int64(len(name)) + perField
		for _, value := range values {
			size += int64(len(value)) + perField/4
		}
	}
	return size
}

// recorded sends one request and records it as evidence for a failure.
func (s *httpSession) recorded(ctx context.Context, w *steps.World, v *visit, request *http.Request) (*httpwire.Reply, error) {
	mark, start := w.PhaseCount(), time.Now()
	answer, err := s.roundTrip(ctx, w, v, request)
	e := exchange{request: request, to: v.url, started: start, phases: w.PhasesSince(mark), err: err}
	if answer != nil {
		e.answer, e.bytes, e.size = answer.Response, answer.OnWire, headerSize(answer.Header)
		if answer.Broken != nil {
			e.err = answer.Broken
		}
	}
	if len(s.exchanges) == mostExchanges {
		w.Memory().Free(s.exchanges[0].size)
		s.exchanges = s.exchanges[1:]
	}
	s.exchanges = append(s.exchanges, e)
	if full := w.Memory().Take(e.size); full != nil && err == nil {
		answer.Release()
		return nil, full
	}
	return answer, err
}

// exchange is one request over HTTP alone, with its response if there was one.
type exchange struct {
	request *http.Request
	to      *address.URL
	answer  *http.Response
	bytes   int64
	size    int64 // of the header of the response, in the run's memory
	started time.Time
	phases  []result.Phase
	err     error
}

func (e *exchange) entry() har.Entry {
	a := har.Entry{Started: e.started, Method: e.request.Method, URL: e.to.String(), Protocol: e.request.Proto, Header: shownFields(e.request.Header),
		Bytes: -1, DNS: -1, Connect: -1, TLS: -1, Wait: -1, Receive: -1}
	if e.err != nil {
		a.Failed = e.err.Error()
	}
	if e.answer != nil {
		a.Protocol, a.Status, a.Answer, a.Bytes = e.answer.Proto, e.answer.StatusCode, shownFields(e.answer.Header), e.bytes
		a.StatusText, a.MediaType = http.StatusText(e.answer.StatusCode), e.answer.Header.Get("Content-Type")
	}
	for _, p := range e.phases {
		switch p.Name {
		case "dns":
			a.DNS = p.Duration
		case "connect":
			a.Connect = p.Duration
		case "tls":
			a.TLS = p.Duration
		case "processing":
			a.Wait = p.Duration
		case "transfer":
			a.Receive = p.Duration
		}
	}
	return a
}

// report attaches the current page and the scenario's requests when a step failed.
func (s *httpSession) report(w *steps.World, err error) {
	if err == nil {
		return
	}
	if s.page != nil {
		s.page.attach(w)
	}
	entries := make([]har.Entry, len(s.exchanges))
	for i := range s.exchanges {
		entries[i] = s.exchanges[i].entry()
	}
	attachRequests(w, entries)
}

// report attaches the page as it was when a step failed. This does not count as time of the step.
func (s *browserSession) report(w *steps.World, err error) {
	if err == nil || s.tab == nil {
		return
	}
	tab, err := s.ready()
	if err != nil {
		return
	}
	w.After(func(ctx context.Context) {
		requests, _ := tab.Requests()
		entries := make([]har.Entry, 0, len(requests))
		for i := range requests {
			if e, kept := requestEntry(&requests[i]); kept {
				entries = append(entries, e)
			}
		}
		for i := range s.aside {
			entries = append(entries, s.aside[i].entry())
		}
		attachRequests(w, entries)
		if log := consoleText(tab); log != "" {
			w.Attach("console", "text/plain; charset=utf-8", []byte(log))
		}
		// What the page itself must supply comes last: it may be too busy.
		limit := evidenceTime
		if deadline, limited := ctx.Deadline(); limited { // a step that takes much longer is abandoned
			limit = min(limit, time.Until(deadline)+evidenceGrace)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		if p, err := s.now(ctx, w); err == nil && p != nil {
			p.attach(w)
		}
		if picture, err := tab.Picture(ctx, w.SecretPatterns(), steps.EvidenceLimit); err == nil {
			w.Attach("screenshot", "image/jpeg", picture)
		}
	})
}

func requestEntry(r *browser.Request) (har.Entry, bool) {
	if !strings.HasPrefix(r.URL, "http") {
		return har.Entry{}, false // content inside the page itself
	}
	e := har.Entry{Started: r.Started, Method: r.Method, URL: address.Shown(r.URL), Protocol: protocolName(r.Protocol), Header: shownFields(r.Header), Status: r.Status,
		StatusText: r.StatusText, Answer: shownFields(r.ResponseHeader), MediaType: r.ResponseHeader.Get("Content-Type"), Bytes: r.Body(), Remote: r.Remote, Failed: r.Failed,
		DNS: r.DNS, Connect: r.Connect, TLS: r.Handshake, Wait: r.Processing, Receive: r.Transfer()}
	if !r.Done && !r.Redirect && r.Failed == "" {
		e.Failed = "not finished yet"
	}
	return e, true
}

// consoleText lists the messages of the page's scripts and the dialogs that it opened.
func consoleText(tab *browser.Tab) string {
	var b strings.Builder
	for _, m := range tab.Console() {
		fmt.Fprintf(&b, "%s: %s", m.Level, m.Text)
		if m.URL != "" {
			fmt.Fprintf(&b, " (%s)", address.Shown(m.URL))
		}
		b.WriteByte('\n')
	}
	for _, d := range tab.Dialogs() {
		answer := ""
		if !d.Accepted {
			answer = ", dismissed"
		}
		fmt.Fprintf(&b, "dialog, %s%s: %s\n", d.Kind, answer, d.Message)
	}
	return b.String()
}

// attachRequests attaches requests as an HTTP Archive.
func attachRequests(w *steps.World, entries []har.Entry) {
	if len(entries) == 0 {
		return
	}
	if archive, err := har.Encode(entries, steps.EvidenceLimit, w.Redacted); err == nil {
		w.Attach("requests", "application/har+json", archive)
	}
}

// shownFields returns header fields without values that may contain credentials.
func shownFields(h http.Header) http.Header {
	shown := make(http.Header, len(h))
	for name, values := range h {
		if secretHeader(name) {
			values = []string{steps.Hidden}
		}
		shown[name] = values
	}
	return shown
}
