package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/date"
	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about caches: whether a cache responded, and what caches may do with the page (RFC 9111).

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the page should come from a cache",
			Does: "Fails unless the header says that a cache in front of the server responded: Cache-Status (RFC 9211), X-Cache, X-Cache-Status, CF-Cache-Status or X-Varnish reports a hit, or Age is above 0. " +
				"The browser's own cache does not count.",
			Measures: "Measurement http_age_seconds, when there is an Age.",
			Example:  `Then the page should come from a cache`, Func: fromCache(true)},
		steps.Definition{Area: "web", Sentence: "the page should not come from a cache",
			Does:     "Fails when the header says that a cache responded; see `the page should come from a cache`.",
			Measures: "Measurement http_age_seconds, when there is an Age.",
			Example:  `Then the page should not come from a cache`, Func: fromCache(false)},
		steps.Definition{Area: "web", Sentence: "the page should not be cached",
			Does:    "Fails unless Cache-Control forbids every cache to store the page (no-store).",
			Example: `Then the page should not be cached`, Func: notCached},
		steps.Definition{Area: "web", Sentence: "the page should not be cached for others",
			Does:    "Fails unless Cache-Control keeps the page out of shared caches (private or no-store).",
			Example: `Then the page should not be cached for others`, Func: notShared},
		steps.Definition{Area: "web", Sentence: "the page should be cacheable for at least {duration}",
			Does:     "Fails unless a shared cache may keep the page this long: s-maxage, max-age or Expires, without no-store, no-cache or private.",
			Measures: "Measurement http_cache_lifetime_seconds.",
			Example:  `Then the page should be cacheable for at least 1 hour`, Func: cacheable},
		steps.Definition{Area: "web", Sentence: "the page should be at most {duration} old",
			Does:     "Fails when the page was in caches for longer (Age). A page without Age came from the server itself.",
			Measures: "Measurement http_age_seconds, when there is an Age.",
			Example:  `Then the page should be at most 10 minutes old`, Func: atMostOld},
	)
}

// cacheAnswered reports whether a cache responded, and the header that says so. by is "" when no header mentions a
// cache.
func cacheAnswered(header http.Header) (hit bool, by string) {
	tell := func(name, value string) string { return fmt.Sprintf("%s: %s", name, value) }
	if status := header.Values("Cache-Status"); len(status) > 0 {
		// The last member is the cache nearest to the visitor (RFC 9211 section 2).
		for _, member := range parameter.List(strings.Join(status, ",")) {
			for i, said := range strings.Split(member, ";") {
				said = strings.TrimSpace(said)
				hit = hit || i > 0 && (strings.EqualFold(said, "hit") || strings.EqualFold(said, "hit=?1"))
			}
		}
		return hit, tell("Cache-Status", strings.Join(status, ", "))
	}
	for _, name := range []string{"X-Cache", "X-Cache-Status", "Cf-Cache-Status", "X-Proxy-Cache"} {
		if value := strings.Join(header.Values(name), ", "); value != "" {
			// "HIT, MISS" is from two caches; "HIT from cache.example.org", "TCP_HIT", "REVALIDATED" are each from one.
			upper := strings.ToUpper(value)
			return strings.Contains(upper, "HIT") || strings.Contains(upper, "STALE") || strings.Contains(upper, "UPDATING") || strings.Contains(upper, "REVALIDATED"), tell(name, value)
		}
	}
	if value := header.Get("X-Varnish"); value != "" {
		return len(strings.Fields(value)) == 2, tell("X-Varnish", value) // the second number is the request that filled the cache
	}
	if value := header.Get("Age"); value != "" {
		age, valid := ageOf(value)
		return valid && age > 0, tell("Age", value)
	}
	return false, ""
}

// measureAge reports the Age, if there is one.
func measureAge(w *steps.World, p *page) (age time.Duration, found bool, err error) {
	field := p.Header.Get("Age")
	if field == "" {
		return 0, false, nil
	}
	age, valid := ageOf(field)
	if !valid {
		return 0, false, steps.Fail(result.ReasonProtocol, result.BlameWeb, "%s has the Age %s, which is not a number of seconds", p, wording.Quote(field))
	}
	w.Measure("http_age_seconds", "How long the page was in caches (Age).", age.Seconds())
	return age, true, nil
}

// ageOf reads the value of Age, of which the first member counts (RFC 9111 section 5.1).
func ageOf(field string) (time.Duration, bool) {
	first, _, _ := strings.Cut(field, ",")
	return parameter.Seconds(strings.TrimSpace(first))
}

func fromCache(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, _ steps.Args) error {
		p, err := currentPage(ctx, w)
		if err != nil {
			return err
		}
		if p.live != nil && p.live.request != nil && p.live.request.Cached {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s came from the browser's own cache, without a request: use this step after the first visit", p)
		}
		if _, _, err := measureAge(w, p); err != nil {
			return err
		}
		hit, by := cacheAnswered(p.Header)
		switch {
		case hit == wanted:
			if by != "" {
				w.Note(wording.Excerpt(by))
			}
			return nil
		case hit:
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s not to come from a cache: its header says %s", p, wording.Quote(by))
		case by == "":
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to come from a cache: no header reports one (Cache-Status, X-Cache, X-Varnish, Age)", p)
		default:
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to come from a cache: its header says %s", p, wording.Quote(by))
		}
	}
}

func shownControl(p *page) string {
	if control, found := headerOf(p, "Cache-Control"); found {
		return "its Cache-Control is " + wording.Quote(control)
	}
	return "it has no Cache-Control"
}

func cacheControl(p *page) map[string]string {
	return parameter.Directives(p.Header.Values("Cache-Control"))
}

func notCached(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	if _, found := cacheControl(p)["no-store"]; !found {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s not to be cached (no-store): %s", p, shownControl(p))
	}
	return nil
}

func notShared(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	control := cacheControl(p)
	_, noStore := control["no-store"]
	// private="field" keeps only that field out of shared caches.
	if fields, private := control["private"]; !noStore && (!private || fields != "") {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s not to be cached for others (private or no-store): %s", p, shownControl(p))
	}
	return nil
}

// cacheLifetime returns how long a shared cache may use a page that was received at this time, or why it may not (RFC 9111
// sections 3 and 4.2.1).
func cacheLifetime(header http.Header, received time.Time) (lifetime time.Duration, not string) {
	control := parameter.Directives(header.Values("Cache-Control"))
	for _, name := range []string{"no-store", "no-cache", "private"} {
		if value, found := control[name]; found && value == "" {
			return 0, name + " forbids it"
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if value, found := control[name]; found {
			if lifetime, valid := parameter.Seconds(value); valid {
				return lifetime, ""
			}
			return 0, fmt.Sprintf("its %s is %s, which is not a number of seconds", name, wording.Quote(value))
		}
	}
	if field := header.Get("Expires"); field != "" {
		expires, err := date.HTTP(field)
		if err != nil {
			return 0, fmt.Sprintf("its Expires means that it has expired (RFC 9111 section 5.3): %v", err)
		}
		sent := received // RFC 9110 section 6.6.1
		if field := header.Get("Date"); field != "" {
			if sent, err = date.HTTP(field); err != nil {
				return 0, fmt.Sprintf("its Date cannot be read: %v", err)
			}
		}
		return max(0, expires.Sub(sent)), ""
	}
	return 0, "neither Cache-Control nor Expires sets a lifetime"
}

func cacheable(ctx context.Context, w *steps.World, a steps.Args) error {
	wanted, err := a.Duration(0)
	if err != nil {
		return err
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	got, not := cacheLifetime(p.Header, p.begun)
	if not != "" {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be cacheable for at least %s: %s; %s", p, a.Text(0), wording.Excerpt(not), shownControl(p))
	}
	w.Measure("http_cache_lifetime_seconds", "How long a shared cache may use the page.", got.Seconds())
	if got < wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be cacheable for at least %s, got %s", p, a.Text(0), got)
	}
	return nil
}

func atMostOld(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	age, found, err := measureAge(w, p)
	if err == nil && found && age > limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be at most %s old, got Age %s", p, a.Text(0), age)
	}
	return err
}
