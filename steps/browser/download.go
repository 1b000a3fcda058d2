package browser

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Download is a file that the browser saved. Remove must be called.
type Download struct {
	URL      string
	Name     string      // the name under which a visitor saves it
	Header   http.Header // nil when the browser does not report it, as for a file that no navigation led to
	Bytes    int64
	Total    int64 // the length that the server announced, 0 when it did not
	Broken   bool  // it is incomplete
	TooLarge bool  // it exceeded the limit and was aborted
	Late     bool  // it was not complete in time and was aborted

	dir, file string
}

// Read writes the file to w.
func (d *Download) Read(w io.Writer) error {
	f, err := os.Open(d.file)
	if err == nil {
		_, err = io.Copy(w, f)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return &Broken{"read the file that the browser saved", err}
	}
	return nil
}

// Remove removes the saved file.
func (d *Download) Remove() { _ = os.RemoveAll(d.dir) } // the profile is removed with the process anyway

// saving is a download that a tab waits for; Tab.mu guards it.
type saving struct {
	id       string // the browser's identifier, empty until the download begins
	download Download
	done     bool
	windows  []target.ID // windows of the tab's context opened in the meantime: a link may lead to its file through one
}

// Download calls act and saves the file that it leads to, up to limit bytes: directly, or through a page that starts
// the download itself. It returns nil without an error when act led to something else, or to no file within wait.
func (t *Tab) Download(ctx context.Context, wait time.Duration, limit int64, act func() error) (*Download, error) {
	if t.process.dir == nil {
		return nil, &Broken{"save a file", errors.New("the browser at browser.remote saves files on its own machine: remove this setting from stepwatch.yml, or load the file by its address")}
	}
	dir, err := os.MkdirTemp(t.process.dir.path, "download-")
	if err != nil {
		return nil, &Broken{"save a file", err}
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := t.downloads(ctx, dir); err != nil {
		return nil, err
	}
	t.mu.Lock()
	before := t.current
	s := &saving{}
	t.saving = s
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.saving = nil
		if t.current != nil && t.current.Download {
			t.current = t.shown // the page did not change
		}
		t.mu.Unlock()
		_ = t.downloads(context.WithoutCancel(ctx), "") // the end of the tab does it otherwise
	}()
	if err := act(); err != nil {
		return nil, err
	}
	if _, err := t.Settle(ctx, nil); err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = t.wait(soon, func() bool {
		return s.id != "" || t.current != before && t.current.fruitless()
	})
	t.mu.Lock()
	id := s.id
	t.mu.Unlock()
	switch {
	case id != "":
	case err != nil && soon.Err() == nil, ctx.Err() != nil:
		return nil, err
	default:
		return nil, nil
	}
	late := false
	if err := t.wait(ctx, func() bool { return s.done || s.download.Bytes > limit }); err != nil {
		if late = ctx.Err() != nil && t.life.Err() == nil; !late {
			return nil, err
		}
	}
	t.mu.Lock()
	d := s.download
	if r := t.current.Response(); r != nil && r.URL == d.URL && t.current != before {
		d.Header = r.ResponseHeader
	}
	d.TooLarge, d.Late = d.Bytes > limit, late
	if !s.done {
		defer func() {
			_, _ = cdp.Call(t.life, t.process.browser(), browser.CancelDownload, browser.CancelDownloadParams{GUID: id, BrowserContextID: t.browserContext})
		}()
	}
	t.mu.Unlock()
	d.dir, d.file, kept = dir, filepath.Join(dir, id), true
	return &d, nil
}

// fruitless reports whether a navigation cannot lead to a download.
func (n *Navigation) fruitless() bool {
	if n == nil || !n.done() || n.Download {
		return false
	}
	r := n.Response()
	return n.Failed != "" || r != nil && (r.Status >= 400 || !strings.Contains(r.ResponseHeader.Get("Content-Type"), "html"))
}

// downloads makes the browser save this tab's files in a directory and report them, or reject them again when dir is
// empty.
func (t *Tab) downloads(ctx context.Context, dir string) error {
	// Whether the browser reports downloads is one setting for all tabs, so no tab may turn it off again.
	tell := true
	params := browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorDeny, BrowserContextID: t.browserContext, EventsEnabled: &tell}
	if dir != "" {
		params.Behavior, params.DownloadPath = browser.SetDownloadBehaviorBehaviorAllowAndName, dir
	}
	bound, done := t.bind(ctx)
	defer done()
	_, err := cdp.Call(bound, t.process.browser(), browser.SetDownloadBehavior, params)
	return t.explain(ctx, err)
}

func (p *process) browser() *chromedp.Browser { return chromedp.FromContext(p.ctx).Browser }

// holds reports whether a frame is the tab's, or the page of a window opened in the meantime; t.mu is held.
func (t *Tab) holds(id cdp.FrameID) bool {
	return id == t.main || t.frameOf(id) != nil || slices.Contains(t.saving.windows, target.ID(id))
}

// downloading handles the browser's download events while a download is awaited; t.mu is held.
func (t *Tab) downloading(ev any) {
	s := t.saving
	switch ev := ev.(type) {
	case *target.EventTargetCreated:
		if ev.TargetInfo.BrowserContextID == t.browserContext {
			s.windows = append(s.windows, ev.TargetInfo.TargetID)
		}
		return
	case *browser.EventDownloadWillBegin:
		if s.id != "" || !t.holds(ev.FrameID) {
			return
		}
		s.id, s.download.URL, s.download.Name = ev.GUID, ev.URL, ev.SuggestedFilename
	case *browser.EventDownloadProgress:
		if ev.GUID != s.id {
			return
		}
		// For an aborted download, the browser reports that nothing was received.
		s.download.Bytes, s.download.Total = max(s.download.Bytes, int64(ev.ReceivedBytes)), int64(ev.TotalBytes)
		s.done = ev.State != browser.DownloadProgressStateInProgress
		s.download.Broken = ev.State == browser.DownloadProgressStateCanceled || s.done && s.download.Bytes < s.download.Total
	default:
		return
	}
	t.changedLocked()
}
