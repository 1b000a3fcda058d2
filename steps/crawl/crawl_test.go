package crawl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/crawl"
)

// site is a website in memory: documents by address. "=404" is a response with this status, ">ADDRESS" a redirect,
// "!TEXT" an error, and anything else not starting with "<" is not HTML.
type site struct {
	t         *testing.T
	documents map[string]string
	stop      func(asked int) // called before each request

	mu    sync.Mutex
	asked []string
}

func (s *site) get(method, at string) (string, *address.URL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop(len(s.asked))
	}
	s.asked = append(s.asked, method+" "+at)
	for {
		document, found := s.documents[at]
		if !found {
			document = "=404"
		}
		if to, redirect := strings.CutPrefix(document, ">"); redirect {
			at = to
			continue
		}
		u, err := address.Parse(at)
		if err != nil {
			s.t.Fatal(err)
		}
		if why, broken := strings.CutPrefix(document, "!"); broken {
			return "", nil, errors.New(why)
		}
		return document, u, nil
	}
}

func (s *site) Ask(ctx context.Context, method string, of *address.URL) (*crawl.Answer, error) {
	document, u, err := s.get(method, of.String())
	if err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	answer := &crawl.Answer{URL: u, Status: http.StatusOK, HTML: strings.HasPrefix(document, "<")}
	if status, is := strings.CutPrefix(document, "="); is {
		_, _ = fmt.Sscan(status, &answer.Status)
	}
	return answer, nil
}

func (s *site) Read(ctx context.Context, of *address.URL) (*crawl.Page, error) {
	document, u, err := s.get("READ", of.String())
	if err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	doc, err := html.Parse(strings.NewReader(document))
	if err != nil {
		s.t.Fatal(err)
	}
	return crawl.NewPage(u, u, doc, nil), nil
}

const from = "https://a.test/"

func (s *site) run(ctx context.Context, bounds crawl.Bounds) *crawl.Report {
	u, _ := address.Parse(from)
	first, err := s.Read(ctx, u)
	if err != nil {
		s.t.Fatal(err)
	}
	s.asked = nil
	if bounds.Links == 0 {
		bounds.Links = 1000
	}
	bounds.Asking, bounds.Read = 3, 2
	return crawl.Run(ctx, s, first, []string{"a.test"}, bounds)
}

func shown(r *crawl.Report) string {
	text := fmt.Sprintf("%d pages, %d checked", r.Pages, r.Checked)
	for _, left := range []struct {
		name string
		n    int
	}{{"unread", r.Unread}, {"unasked", r.Unasked}, {"over", r.Over}, {"others", r.Others}, {"refused", r.Refused}, {"ignored", r.Ignored}} {
		if left.n > 0 {
			text += fmt.Sprintf(", %d %s", left.n, left.name)
		}
	}
	for _, b := range r.Broken {
		text += fmt.Sprintf("\n%s %s: %v (%s +%d)", b.Kind, b.Address, b.Err, strings.Join(b.Pages, " "), b.More)
	}
	return text
}

func TestRun(t *testing.T) {
	whole := crawl.Bounds{Depth: 9, Pages: 99}
	for name, c := range map[string]struct {
		documents map[string]string
		bounds    crawl.Bounds
		want      string
	}{
		"sound": {map[string]string{from: `<a href=/b>`, from + "b": `<a href=/>`}, whole, "2 pages, 2 checked"},
		"broken": {map[string]string{from: `<a href=/b><img src=/i><a href=/gone><a href=/gone>`, from + "b": `<a href=/gone>`}, whole,
			"2 pages, 3 checked\nimage https://a.test/i: 404 Not Found (https://a.test/ +0)\nlink https://a.test/gone: 404 Not Found (https://a.test/ https://a.test/b +0)"},
		"on many pages": {map[string]string{from: `<a href=/1><a href=/2><a href=/3><a href=/4><a href=/x>`, from + "1": `<a href=/x>`, from + "2": `<a href=/x>`, from + "3": `<a href=/x>`, from + "4": `<a href=/x>`}, whole,
			"5 pages, 5 checked\nlink https://a.test/x: 404 Not Found (https://a.test/ https://a.test/1 https://a.test/2 +2)"},
		"no answer":        {map[string]string{from: `<a href=/b>`, from + "b": `!hung up`}, whole, "1 pages, 1 checked\nlink https://a.test/b: hung up (https://a.test/ +0)"},
		"depth 0":          {map[string]string{from: `<a href=/b>`, from + "b": `<a href=/gone>`}, crawl.Bounds{Pages: 9}, "1 pages, 1 checked, 1 unread"},
		"depth 1":          {map[string]string{from: `<a href=/b>`, from + "b": `<a href=/gone>`}, crawl.Bounds{Depth: 1, Pages: 9}, "2 pages, 2 checked\nlink https://a.test/gone: 404 Not Found (https://a.test/b +0)"},
		"pages":            {map[string]string{from: `<a href=/b><a href=/c>`, from + "b": `<a href=/>`, from + "c": `<a href=/gone>`}, crawl.Bounds{Depth: 9, Pages: 2}, "2 pages, 3 checked, 1 unread"},
		"links":            {map[string]string{from: `<a href=/b><a href=/gone><a href=/gone>`, from + "b": `<p>`}, crawl.Bounds{Depth: 9, Pages: 9, Links: 1}, "2 pages, 1 checked, 2 over"},
		"ignored":          {map[string]string{from: `<a href=/b><a href=/logout>`, from + "b": `<p>`}, crawl.Bounds{Depth: 9, Pages: 9, Ignore: regexp.MustCompile("/logout")}, "2 pages, 1 checked, 1 ignored"},
		"other schemes":    {map[string]string{from: `<a href=mailto:x@a.test><a href=JavaScript:go()><a href=tel:1><img src=data:,>`}, whole, "1 pages, 0 checked"},
		"no address":       {map[string]string{from: `<a href="http://">x</a><a href="/%zz">`}, whole, "1 pages, 2 checked\nlink http://: it is not an address: it has no host (https://a.test/ +0)\nlink https://a.test/%zz: 404 Not Found (https://a.test/ +0)"},
		"mixed":            {map[string]string{from: `<img src=http://a.test/i><a href=http://a.test/ok><form action=http://a.test/f>`, "http://a.test/ok": `<img src=http://a.test/j>`, "http://a.test/j": "x"}, whole, "2 pages, 4 checked\nimage http://a.test/i: mixed content: http on an https page, which browsers block or warn of (https://a.test/ +0)\nform http://a.test/f: mixed content: http on an https page, which browsers block or warn of (https://a.test/ +0)"},
		"places":           {map[string]string{from: `<a href=#here><a href=#no><i id=here><a href=/b#x><a href=/b#y><a href=#top><a href="#"><a href="#/route">`, from + "b": `<a name=x>`}, whole, "2 pages, 6 checked\nlink https://a.test/#no: the page has no such fragment (https://a.test/ +0)\nlink https://a.test/b#y: the page has no such fragment (https://a.test/ +0)"},
		"place not read":   {map[string]string{from: `<a href=/b#y>`, from + "b": `<p>`}, crawl.Bounds{Pages: 9}, "1 pages, 1 checked, 1 unread"},
		"redirect":         {map[string]string{from: `<a href=/b><a href=/old#y>`, from + "b": `<i id=y>`, from + "old": ">" + from + "b"}, whole, "2 pages, 3 checked"},
		"redirect away":    {map[string]string{from: `<a href=/b>`, from + "b": ">https://b.test/", "https://b.test/": "<a href=/gone>"}, whole, "1 pages, 1 checked"},
		"others":           {map[string]string{from: `<a href=//b.test/><img src=https://c.test/i>`}, whole, "1 pages, 0 checked, 2 others"},
		"others asked":     {map[string]string{from: `<a href=//b.test/><a href=//b.test/gone><a href=//c.test>`, "https://b.test/": "<a href=/never>", "https://c.test/": "=403"}, crawl.Bounds{Depth: 9, Pages: 9, Others: true}, "1 pages, 2 checked, 1 refused\nlink https://b.test/gone: 404 Not Found (https://a.test/ +0)"},
		"other port":       {map[string]string{from: `<a href=https://A.test:8443/>`, "https://a.test:8443/": "<p>"}, whole, "2 pages, 1 checked"},
		"other letters":    {map[string]string{from: `<a href=//bücher.test/>`, "https://xn--bcher-kva.test/": "<p>"}, crawl.Bounds{Depth: 9, Pages: 9, Others: true}, "1 pages, 1 checked"},
		"no HTML":          {map[string]string{from: `<a href=/f.pdf>`, from + "f.pdf": "PDF"}, whole, "1 pages, 1 checked"},
		"frames":           {map[string]string{from: `<iframe src=/f><a href=/inside></a></iframe>`, from + "f": `<a href=gone>`}, whole, "2 pages, 2 checked\nlink https://a.test/gone: 404 Not Found (https://a.test/f +0)"},
		"parts of a page":  {map[string]string{from: `<link rel="shortcut icon" href=/1><link rel=canonical href=/no><script src=/2></script><video src=/3 poster=/4></video><object data=/5></object><input type=image src=/6>`}, whole, "1 pages, 6 checked\nicon https://a.test/1: 404 Not Found (https://a.test/ +0)\nscript https://a.test/2: 404 Not Found (https://a.test/ +0)\nmedia file https://a.test/3: 404 Not Found (https://a.test/ +0)\nimage https://a.test/4: 404 Not Found (https://a.test/ +0)\nresource https://a.test/5: 404 Not Found (https://a.test/ +0)\nimage https://a.test/6: 404 Not Found (https://a.test/ +0)"},
		"spaces and slash": {map[string]string{from: "<a href=' \\b\n'>", from + "b": "<p>"}, whole, "2 pages, 1 checked"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, documents: c.documents}
			if got := shown(s.run(t.Context(), c.bounds)); got != c.want {
				t.Errorf("got  %s\nwant %s\nrequests %q", got, c.want, s.asked)
			}
		})
	}
}

// TestRequests checks that each address is requested once, with HEAD, and with GET only after an error.
func TestRequests(t *testing.T) {
	s := &site{t: t, documents: map[string]string{from: `<a href=/b><a href=/b#1><img src=/b><a href=/gone>`, from + "b": `<a href=/>`}}
	s.run(t.Context(), crawl.Bounds{Depth: 3, Pages: 9})
	slices.Sort(s.asked)
	if got, want := strings.Join(s.asked, ", "), "GET https://a.test/gone, HEAD https://a.test/b, HEAD https://a.test/gone, READ https://a.test/b"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEnd ends a crawl after each number of requests: the remaining addresses are counted and never reported as broken.
func TestEnd(t *testing.T) {
	documents := map[string]string{from: `<a href=/1><a href=/2><a href=/3><a href=//b.test/>`, from + "1": `<a href=/4>`, from + "2": "x", from + "3": "x", from + "4": "x", "https://b.test/": "x"}
	for after := 1; ; after++ {
		ctx, cancel := context.WithCancel(t.Context())
		s := &site{t: t, documents: documents, stop: func(asked int) {
			if asked == after {
				cancel()
			}
		}}
		r := s.run(ctx, crawl.Bounds{Depth: 9, Pages: 99, Others: true})
		ended := ctx.Err() != nil
		cancel()
		if len(r.Broken) > 0 {
			t.Errorf("after %d: %s", after, shown(r))
		}
		if !ended {
			if got, want := shown(r), "2 pages, 5 checked"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			return
		}
		if r.Unasked == 0 {
			t.Errorf("after %d: %s: nothing is reported as skipped", after, shown(r))
		}
	}
}

func FuzzNewPage(f *testing.F) {
	for _, text := range []string{`<a href=/x#y id=z>`, `<base href=//b><img src="http://[::1"><a href="\\c">`, `<link rel=icon href=:><form action=?>`} {
		f.Add(text)
	}
	at, _ := address.Parse(from)
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := html.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, link := range crawl.NewPage(at, at, doc, nil).Links {
			switch {
			case link.Fault == nil && (link.URL == nil || link.URL.Hostname() == "" || link.URL.Fragment != "" || link.URL.Scheme != "http" && link.URL.Scheme != "https"):
				t.Errorf("%q: %+v cannot be requested", text, link)
			case link.Kind == "":
				t.Errorf("%q: %+v has no kind", text, link)
			}
		}
	})
}
