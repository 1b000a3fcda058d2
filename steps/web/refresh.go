package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// A page may lead on to another one by itself, by <meta http-equiv=refresh> or the header Refresh (HTML §4.2.5.3). A browser
// follows when the time is over. Over HTTP alone the next page is loaded when that time is so short that nobody reads this
// one; otherwise a note says where a browser goes.

// refreshAtOnce is the longest time of a page that only leads on to another one.
const refreshAtOnce = time.Second

// leadOn follows the page's own refresh, as a visit does, and every one after it.
func (s *httpSession) leadOn(ctx context.Context, w *steps.World, v *visit) error {
	if s.bare || v.save != nil || v.sent || steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios {
		return nil
	}
	for followed := 0; s.page != nil && s.page.stopped == nil; followed++ {
		from := s.page
		wait, to := from.refresh()
		switch {
		case to == nil || to.WithoutFragment().Href() == from.url.WithoutFragment().Href():
			return nil // a page that loads itself again
		case wait > refreshAtOnce || followed == maxRedirects:
			w.Note(fmt.Sprintf("a browser leaves this page after %s for %s", wait, wording.Excerpt(to.String())))
			return nil
		}
		*v = visit{method: http.MethodGet, url: to, referrer: from.url, anyStatus: v.anyStatus, way: from.wayTo(to), anySite: v.anySite,
			strange: v.strange || !sameSite(from.url.Hostname(), to.Hostname())}
		s.visits[len(s.visits)-1] = *v
		from.release()
		p, err := s.arrive(ctx, w, v)
		if s.show(p); err == nil && !v.anyStatus {
			err = s.judgeStatus(p, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refresh returns where a page leads by itself, and after how long; nil for nowhere.
func (p *page) refresh() (time.Duration, *address.URL) {
	if field := p.Header.Get("Refresh"); field != "" {
		return p.refreshOf(field)
	}
	if source := p.text(); !p.isHTML() || !bytes.Contains(source, []byte("efresh")) && !bytes.Contains(source, []byte("EFRESH")) {
		return 0, nil
	}
	doc, err := p.tree()
	if err != nil {
		return 0, nil
	}
	for n := range pagetree.Nodes(doc) {
		if kind, _ := pagetree.Attribute(n, "http-equiv"); n.DataAtom != atom.Meta || !strings.EqualFold(kind, "refresh") {
			continue
		}
		if content, _ := pagetree.Attribute(n, "content"); content != "" {
			if wait, to := p.refreshOf(content); to != nil {
				return wait, to // the first valid one counts
			}
		}
	}
	return 0, nil
}

// refreshOf reads the value of a refresh: "5", "5; url=/next", "0;URL='/next'" (HTML §4.2.5.3, shared declarative refresh
// steps).
func (p *page) refreshOf(value string) (time.Duration, *address.URL) {
	const space = " \t\n\f\r"
	value = strings.TrimLeft(value, space)
	rest := strings.TrimLeft(value, "0123456789")
	digits := value[:len(value)-len(rest)]
	if digits == "" && !strings.HasPrefix(rest, ".") {
		return 0, nil
	}
	seconds, err := strconv.Atoi("0" + digits)
	if err != nil || seconds > 1e6 {
		return 0, nil
	}
	wait := time.Duration(seconds) * time.Second
	rest = strings.TrimLeft(rest, "0123456789.")
	if rest == "" {
		return wait, p.url
	}
	if !strings.ContainsAny(rest[:1], ";,"+space) {
		return 0, nil
	}
	rest = strings.TrimLeft(rest, space)
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, ";"), ",")
	rest = strings.TrimLeft(rest, space)
	if rest == "" {
		return wait, p.url
	}
	if len(rest) >= len("url") && strings.EqualFold(rest[:3], "url") {
		if after, found := strings.CutPrefix(strings.TrimLeft(rest[3:], space), "="); found {
			rest = strings.TrimLeft(after, space)
		}
	}
	if rest != "" && (rest[0] == '\'' || rest[0] == '"') {
		quote := rest[:1]
		rest, _, _ = strings.Cut(rest[1:], quote)
	}
	to, err := p.base().Join(rest, p.coding())
	if err != nil || loadable(to) != nil {
		return 0, nil
	}
	return wait, to
}
