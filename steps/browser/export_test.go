package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
)

// Crash ends the process that renders the page.
func (t *Tab) Crash(ctx context.Context) error {
	_, err := command(ctx, t, page.Crash, cdp.Empty{})
	return err
}
