package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func newTestPage(source string) *page {
	return &page{
		url: address.Reported("http://www.example.test/"), reading: reading{ctx: context.Background()},
		Reply: &httpwire.Reply{Content: []byte(source), Response: &http.Response{StatusCode: http.StatusOK, Status: "200 OK",
			Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Request: &http.Request{Method: http.MethodGet}}},
	}
}

// FuzzHTMLPage runs all steps about a page on any page. They must not panic, hang or blame stepwatch.
func FuzzHTMLPage(f *testing.F) {
	for _, c := range fixture.TextCases {
		f.Add(c.Source, "a")
	}
	f.Add(`<form id=f><label for=x>Name</label><input id=x name=n form=f><select name=s><option>a</select><button>Go</button></form>`, "Name")
	f.Add(`<table><form><tr><td><input type=file name=f><input type=image></table><fieldset disabled><legend><input></legend>`, "f")
	f.Add(`<base href="//[x"><a href="http://%zz">b</a><a href="javascript:">c</a><label><select><option disabled selected>`, "b")
	f.Fuzz(func(t *testing.T, source, name string) {
		p := newTestPage(source)
		doc, err := p.tree()
		if err != nil {
			return
		}
		if _, err := p.visibleText(); err != nil {
			t.Errorf("text: %v", err)
		}
		p.base()
		w := steps.NewWorld(&steps.Target{}, nil, "run", "origin")
		steps.State[httpSession](w).page = p
		s := &search{ctx: t.Context(), page: p, act: "fuzz", name: name}
		for _, kind := range []pagetree.FieldKind{pagetree.KindText, pagetree.KindSelect, pagetree.KindCheckbox, pagetree.KindRadio, pagetree.KindFile} {
			if field, err := s.findField(doc, kind); err == nil {
				switch kind {
				case pagetree.KindText:
					_, _ = steps.State[httpSession](w).fill(t.Context(), s, field, name)
				case pagetree.KindSelect:
					if option, err := s.findOption(field, name); err == nil {
						_ = steps.State[httpSession](w).selectOption(t.Context(), s, option)
					}
				case pagetree.KindRadio:
					p.chooseRadio(field)
				}
			}
		}
		for n := range doc.Descendants() {
			if n.DataAtom == atom.Form && n.Type == html.ElementNode {
				_, _ = s.submission(n, nil)
			}
		}
		if button, err := s.findButton(doc); err == nil {
			if form := p.formOf(button); form != nil {
				_, _ = s.submission(form, button)
			}
		}
		_, _ = s.findForm(doc)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is fetched
		_ = follow(ctx, w, steps.Args{Captured: []string{name}})
	})
}

// TestHugePage checks that the time for a page grows linearly with its size: 20,000 elements of every kind.
func TestHugePage(t *testing.T) {
	const times = 20_000
	for _, c := range []struct{ before, piece string }{
		{"<form id=f></form>", "<input form=f name=a>"},
		{"<table><form>", "<input name=a>"},
		{"", "<input name=a>"},
		{"<form>", "<button name=a>x</button>"},
		{"", "<a href=x>x</a>"},
		{"<details>", "<i>x</i>"},
		{"<select name=a>", "<option>x"},
		{"<fieldset disabled><legend>", "<input type=radio name=a>"},
		{"<label for=a>l</label><p id=a>", "<label for=a>x<input name=a aria-labelledby='a a'></label>"},
	} {
		p := newTestPage(c.before + strings.Repeat(c.piece, times))
		doc, err := p.tree()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		s := &search{ctx: t.Context(), page: p, act: "find", name: "nothing"}
		if _, err := p.visibleText(); err != nil {
			t.Fatal(err)
		}
		_, _ = s.findLink(doc)
		_, _ = s.findButton(doc)
		_, _ = s.findField(doc, pagetree.KindText)
		if radio, err := (&search{ctx: t.Context(), page: p, name: "a"}).findField(doc, pagetree.KindRadio); err == nil {
			p.chooseRadio(radio)
		}
		for n := range doc.Descendants() {
			if n.DataAtom == atom.Form {
				_, _ = s.submission(n, nil)
			}
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%q, %d times: took %s", c.piece, times, took)
		}
	}
}

// A search ends with its context, and what it did not see is not absent.
func TestSearchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	p := newTestPage(strings.Repeat("<p>x", 1000) + "<h1>End</h1>")
	doc, err := p.tree()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for range (&search{ctx: ctx, page: p}).nodes(doc) {
		seen++
	}
	if seen > 300 {
		t.Errorf("%d nodes were visited after the end", seen)
	}
	w := steps.NewWorld(&steps.Target{}, nil, "run", "scenario")
	steps.State[httpSession](w).page = p
	for _, wanted := range []bool{true, false} {
		err := seeThing("heading", (*search).headings, wanted)(ctx, w, steps.Args{Captured: []string{"End"}})
		if failure := (*steps.Failure)(nil); !errors.As(err, &failure) || failure.Reason != result.ReasonTimeout {
			t.Errorf("wanted %t: %v", wanted, err)
		}
	}
}
