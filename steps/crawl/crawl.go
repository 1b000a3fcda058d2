// Package crawl finds broken links: it reads the pages of a website, starting at one, and requests everything that they
// refer to.
//
// It counts what its bounds exclude, so that this is not mistaken for checked. It has no protocol of its own: a Site
// reads and requests. It does not read robots.txt, since owners crawl their own sites. It requests from other hosts
// only when configured, and then one address at a time per host.
package crawl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Site gives a crawl access to pages. Its methods are called by several goroutines, as set in Bounds.
type Site interface {
	// Ask sends a HEAD or GET request to an address, and follows redirects. An error means that there was no response.
	Ask(ctx context.Context, method string, of *address.URL) (*Answer, error)

	// Read reads a page. The error is a *StatusError, or means that there was no response.
	Read(ctx context.Context, of *address.URL) (*Page, error)
}

// Answer is the final response for an address.
type Answer struct {
	URL    *address.URL // after redirects
	Status int
	HTML   bool
}

// Bounds limit a crawl.
type Bounds struct {
	Depth  int            // how many links away from the first page a page may be; 0 reads no other
	Pages  int            // how many pages are read at most, including the first one
	Links  int            // how many addresses are kept at most
	Ignore *regexp.Regexp // matching addresses are skipped; nil for none
	Others bool           // also request addresses on other hosts
	Asking int            // requests at once
	Read   int            // pages read at once
}

// The faults of a link other than its response.
var (
	ErrAddress = errors.New("it is not an address")
	ErrMixed   = errors.New("mixed content: http on an https page, which browsers block or warn of")
	ErrPlace   = errors.New("the page has no such fragment")
)

// StatusError is a response that a visitor cannot use.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
}

// Broken is a broken link.
type Broken struct {
	Address string
	Kind    Kind
	Err     error    // why: one of the errors above, or the error of Site
	Pages   []string // that contain it, the first few
	More    int      // number of further pages
}

// Report is the result of a crawl.
type Report struct {
	Pages   int      // that were read
	Checked int      // links checked: addresses, and fragments of pages, each once
	Broken  []Broken // in the order in which they were found

	// What was skipped.
	Unread  int // pages of the site that were not read, because of Depth and Pages
	Unasked int // addresses for which there was no time
	Over    int // references beyond Links
	Others  int // addresses on other hosts that were not requested
	Refused int // addresses on other hosts that reject programs: 401, 403, 429 and the like
	Ignored int // references that Ignore matched
}

// entry is one address.
type entry struct {
	url    *address.URL // nil when it is not an address
	shown  string
	kind   Kind
	fault  error           // of each reference to it
	places map[string]seen // fragments, and where they are referenced
	order  []string        // of places
	seen   seen
	answer *Answer
	err    error
	asked  bool
	page   *Page // once it was read
}

// seen lists the pages with a reference.
type seen struct {
	pages []string
	last  string
	more  int
}

// shownPages is how many pages of a broken link are named.
const shownPages = 3

func (s *seen) on(page string) {
	switch {
	case page == s.last:
		return
	case len(s.pages) < shownPages:
		s.pages = append(s.pages, page)
	default:
		s.more++
	}
	s.last = page
}

type crawler struct {
	site   Site
	bounds Bounds
	own    []string
	known  map[string]*entry
	all    []*entry
	faults map[string]*entry // by address and fault
	report Report
	pages  map[string]*Page // that were read, by address
}

// Run crawls from a page that was already read. Everything on the hosts in own, whatever the port, belongs to the site.
// Run returns early when ctx ends, and then sets Unasked in the report.
func Run(ctx context.Context, site Site, first *Page, own []string, bounds Bounds) *Report {
	c := &crawler{site: site, bounds: bounds, own: own, known: map[string]*entry{}, faults: map[string]*entry{}, pages: map[string]*Page{}}
	c.keep(first)
	level := []*Page{first}
	for depth := 0; len(level) > 0; depth++ {
		fresh := c.note(level)
		c.each(ctx, bounds.Asking, fresh, c.ask)
		next := c.toRead(fresh)
		room := max(0, bounds.Pages-len(c.pages))
		if depth >= bounds.Depth {
			room = 0
		}
		if len(next) > room {
			c.report.Unread += len(next) - room
			next = next[:room]
		}
		level = c.read(ctx, next)
	}
	if bounds.Others {
		c.askOthers(ctx)
	}
	c.judge()
	return &c.report
}

func (c *crawler) isOwn(u *address.URL) bool {
	return slices.ContainsFunc(c.own, func(host string) bool { return host == u.Hostname() })
}

func (c *crawler) keep(p *Page) {
	c.pages[p.URL.String()] = p
	if e := c.known[p.URL.String()]; e == nil {
		e = &entry{url: p.URL, shown: p.URL.String(), kind: KindLink, asked: true, page: p, answer: &Answer{URL: p.URL, Status: http.StatusOK}}
		c.known[p.URL.String()] = e // not in all: nothing refers to it yet
	}
}

// note records the references of pages and returns the new addresses of the site.
func (c *crawler) note(pages []*Page) []*entry {
	var fresh []*entry
	for _, p := range pages {
		from := p.URL.String()
		for _, link := range p.Links {
			if c.bounds.Ignore != nil && c.bounds.Ignore.MatchString(link.Shown) {
				c.report.Ignored++
				continue
			}
			if link.Fault != nil {
				key := link.Shown + " " + link.Fault.Error()
				e := c.faults[key]
				if e == nil {
					if len(c.all) >= c.bounds.Links {
						c.report.Over++
						continue
					}
					e = &entry{shown: link.Shown, kind: link.Kind, fault: link.Fault, asked: true}
					c.faults[key], c.all = e, append(c.all, e)
				}
				e.seen.on(from)
				continue
			}
			key := link.URL.String()
			e := c.known[key]
			if e == nil || len(e.seen.pages) == 0 {
				if len(c.all) >= c.bounds.Links {
					c.report.Over++
					continue
				}
			}
			if e == nil {
				e = &entry{url: link.URL, shown: link.Shown, kind: link.Kind}
				c.known[key] = e
				if c.isOwn(link.URL) {
					fresh = append(fresh, e)
				}
			}
			if len(e.seen.pages) == 0 {
				c.all = append(c.all, e)
			}
			e.seen.on(from)
			if link.Kind.page() && !e.kind.page() {
				e.kind = link.Kind
			}
			if link.Fragment != "" {
				if e.places == nil {
					e.places = map[string]seen{}
				}
				at, noted := e.places[link.Fragment]
				if !noted {
					e.order = append(e.order, link.Fragment)
				}
				at.on(from)
				e.places[link.Fragment] = at
			}
		}
	}
	return fresh
}

// each calls do for all entries, atOnce at a time, until ctx ends.
func (c *crawler) each(ctx context.Context, atOnce int, entries []*entry, do func(context.Context, *entry)) {
	var all sync.WaitGroup
	queue := make(chan *entry)
	for range min(max(1, atOnce), len(entries)) {
		all.Go(func() {
			for e := range queue {
				do(ctx, e)
			}
		})
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		queue <- e
	}
	close(queue)
	all.Wait()
}

// ask sends a HEAD request first, the cheapest for a server. Some servers handle it incorrectly, so after an error it
// sends a GET request, as a visitor would.
func (c *crawler) ask(ctx context.Context, e *entry) {
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		answer, err := c.site.Ask(ctx, method, e.url)
		if ctx.Err() != nil {
			return // this is not a response, and nobody's fault
		}
		e.answer, e.err, e.asked = answer, err, true
		if err == nil && answer.Status < 400 {
			return
		}
	}
}

// toRead returns those of the requested entries that lead to a page of the site that was not read yet.
func (c *crawler) toRead(asked []*entry) []*entry {
	var next []*entry
	taken := map[string]bool{}
	for _, e := range asked {
		if !e.asked || e.err != nil || e.answer.Status < 200 || e.answer.Status > 299 || !e.answer.HTML || !e.kind.page() || !c.isOwn(e.answer.URL) {
			continue
		}
		to := e.answer.URL.WithoutFragment().String()
		if c.pages[to] != nil || taken[to] {
			continue
		}
		taken[to] = true
		next = append(next, e)
	}
	return next
}

func (c *crawler) read(ctx context.Context, entries []*entry) []*Page {
	pages := make(map[*entry]*Page, len(entries))
	var mu sync.Mutex
	c.each(ctx, c.bounds.Read, entries, func(ctx context.Context, e *entry) {
		e.asked = false // until it was read as well
		p, err := c.site.Read(ctx, e.url)
		if ctx.Err() != nil {
			return
		}
		e.err, e.asked = err, true
		if err == nil {
			mu.Lock()
			pages[e] = p
			mu.Unlock()
		}
	})
	var level []*Page
	for _, e := range entries {
		p := pages[e]
		if p == nil {
			if ctx.Err() != nil && e.err == nil {
				e.asked = false // there may have been no time for it
			}
			continue
		}
		e.page = p
		if c.pages[p.URL.String()] == nil && c.isOwn(p.URL) {
			c.keep(p)
			level = append(level, p)
		}
	}
	return level
}

// askOthers requests addresses on other hosts: several hosts at a time, but one address at a time on each.
func (c *crawler) askOthers(ctx context.Context) {
	byHost := map[string][]*entry{}
	var first []*entry
	for _, e := range c.all {
		if e.url == nil || c.isOwn(e.url) {
			continue
		}
		if byHost[e.url.Host] == nil {
			first = append(first, e)
		}
		byHost[e.url.Host] = append(byHost[e.url.Host], e)
	}
	c.each(ctx, c.bounds.Asking, first, func(ctx context.Context, e *entry) {
		for _, e := range byHost[e.url.Host] {
			if ctx.Err() != nil {
				return
			}
			c.ask(ctx, e)
		}
	})
}

// refusesPrograms reports whether a status of another host means that it rejects programs, not that the link is broken.
func refusesPrograms(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusMethodNotAllowed ||
		status == http.StatusTooManyRequests || status == 999
}

// judge computes the report.
func (c *crawler) judge() {
	r := &c.report
	r.Pages = len(c.pages)
	broken := func(e *entry, address string, err error, at seen) {
		r.Broken = append(r.Broken, Broken{address, e.kind, err, at.pages, at.more})
	}
	for _, e := range c.all {
		own := e.url == nil || c.isOwn(e.url)
		switch {
		case e.fault != nil:
			r.Checked++
			broken(e, e.shown, e.fault, e.seen)
			continue
		case !own && !c.bounds.Others:
			r.Others++
			continue
		case !e.asked:
			r.Unasked++
			continue
		case e.err == nil && !own && refusesPrograms(e.answer.Status):
			r.Refused++
			continue
		}
		r.Checked++
		switch {
		case e.err != nil:
			broken(e, e.shown, e.err, e.seen)
			continue
		case e.answer.Status >= 400:
			broken(e, e.shown, &StatusError{e.answer.Status}, e.seen)
			continue
		}
		p := e.page
		if p == nil && e.answer.URL != nil {
			p = c.pages[e.answer.URL.WithoutFragment().String()]
		}
		if p == nil {
			continue // fragments of pages that were not read are not checked
		}
		for _, name := range e.order {
			r.Checked++
			if !p.places[name] {
				broken(e, e.shown+"#"+name, ErrPlace, e.places[name])
			}
		}
	}
}
