package browser

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
)

// Cookie is a cookie in the tab's context.
type Cookie struct {
	Name, Value      string
	Secure, HTTPOnly bool
	SameSite         string    // "Strict", "Lax", "None", or empty when the site does not set it
	Expires          time.Time // zero when it ends with the session

	From   string // address of the response that sets it
	Domain string // its domain, empty for only the host of From
	Path   string // empty for the default path of From
}

// Cookies returns the cookies that a request to an address would contain.
func (t *Tab) Cookies(ctx context.Context, url string) ([]Cookie, error) {
	got, err := command(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		return nil, err
	}
	cookies := make([]Cookie, len(got.Cookies))
	for i, c := range got.Cookies {
		cookies[i] = Cookie{Name: c.Name, Value: c.Value, Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: string(c.SameSite)}
		if !c.Session && c.Expires > 0 {
			cookies[i].Expires = time.UnixMilli(int64(c.Expires * 1000))
		}
	}
	return cookies, nil
}

// SetCookies sets cookies in the tab's context, as responses from their addresses would.
func (t *Tab) SetCookies(ctx context.Context, cookies []Cookie) error {
	params := network.SetCookiesParams{Cookies: make([]*network.CookieParam, len(cookies))}
	for i, c := range cookies {
		params.Cookies[i] = &network.CookieParam{Name: c.Name, Value: c.Value, URL: c.From, Domain: c.Domain, Path: c.Path,
			Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: network.CookieSameSite(c.SameSite)}
		if !c.Expires.IsZero() {
			params.Cookies[i].Expires = cdp.TimeSinceEpoch(c.Expires.Unix())
		}
	}
	_, err := command(ctx, t, network.SetCookies, params)
	return err
}
