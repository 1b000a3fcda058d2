package browser

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
)

// Cookie is a cookie in the tab's context.
type Cookie struct {
	Name, Value      string
	Secure, HTTPOnly bool
	SameSite         string    // "Strict", "Lax", "None", or empty when the site does not set it
	Expires          time.Time // zero when it ends with the session

	From   string // address of the response that sets it
	Domain string // its domain, empty for only the host of From; AllCookies returns it with a dot before it, or the host
	Path   string // empty for the default path of From
}

// Cookies returns the cookies that a request to an address would contain.
func (t *Tab) Cookies(ctx context.Context, url string) ([]Cookie, error) {
	got, err := command(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		return nil, err
	}
	return cookiesFrom(got.Cookies), nil
}

// AllCookies returns the cookies of the tab's context.
func (t *Tab) AllCookies(ctx context.Context) ([]Cookie, error) {
	bound, done := t.bind(ctx)
	defer done()
	got, err := cdp.Call(bound, t.process.browser(), storage.GetCookies, storage.GetCookiesParams{BrowserContextID: t.browserContext})
	if err != nil {
		return nil, t.explain(ctx, err)
	}
	return cookiesFrom(got.Cookies), nil
}

func cookiesFrom(got []*network.Cookie) []Cookie {
	cookies := make([]Cookie, len(got))
	for i, c := range got {
		cookies[i] = Cookie{Name: c.Name, Value: c.Value, Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: string(c.SameSite), Domain: c.Domain, Path: c.Path}
		if !c.Session && c.Expires > 0 {
			cookies[i].Expires = time.UnixMilli(int64(c.Expires * 1000))
		}
	}
	return cookies
}

// SetCookie sets a cookie in the tab's context, as a response from its address would. One that has expired deletes the
// cookie that it replaces.
func (t *Tab) SetCookie(ctx context.Context, c Cookie) error {
	if !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
		gone := network.DeleteCookiesParams{Name: c.Name, URL: c.From, Path: c.Path}
		if c.Domain != "" {
			gone.Domain = "." + c.Domain
		}
		_, err := command(ctx, t, network.DeleteCookies, gone)
		return err
	}
	param := &network.CookieParam{Name: c.Name, Value: c.Value, URL: c.From, Domain: c.Domain, Path: c.Path,
		Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: network.CookieSameSite(c.SameSite)}
	if !c.Expires.IsZero() {
		param.Expires = cdp.TimeSinceEpoch(c.Expires.Unix())
	}
	_, err := command(ctx, t, network.SetCookies, network.SetCookiesParams{Cookies: []*network.CookieParam{param}})
	return err
}
