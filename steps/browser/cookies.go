package browser

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/network"
)

// Cookie is one that the tab's context holds.
type Cookie struct {
	Name, Value      string
	Secure, HTTPOnly bool
	SameSite         string    // "Strict", "Lax", "None", or empty when the site does not say
	Expires          time.Time // zero when it ends with the session
}

// Cookies gives the cookies that a request for an address would be sent with.
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
