package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/redact"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about files that a website serves. A file is read to its end but not stored: its size, its SHA-256 and
// its first bytes are computed while it is read. The current page does not change.

const downloadMeasures = "Time until the file's last byte, redirects included. Measurements web_download_bytes and web_download_seconds; the phases are those of `I go to`."

func init() {
	const whole = "Fails unless the status is 200 and the whole file was received. Fewer bytes than the server announced, an empty file, or an HTML page instead of the file " +
		"(unless the address or the file's name ends in .html) are failures. At most web.download_limit in stepwatch.yml is read. The current page does not change. "
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I download {url}",
			Does:     "Loads a file from a whole address, or a path on the current host, and follows redirects to any site. " + whole + "In a browser it is requested outside the tab, with the visitor's cookies.",
			Measures: downloadMeasures, Example: `When I download "https://www.example.org/price-list.pdf"`, Func: downloadURL},
		steps.Definition{Area: "web", Sentence: "I download the file behind {text}",
			Does: "Loads the file that a link or a form's button leads to, found as `I click` does. " + whole +
				"In a browser it is clicked, and the file is what the browser would save, also one that a script creates.",
			Measures: downloadMeasures, Example: `When I download the file behind "Invoice as PDF"`, Func: downloadBehind},
		steps.Definition{Area: "web", Sentence: "the download should be between {size} and {size}",
			Does:    "Fails unless the last download's size is in this range, limits included. KB, MB and GB are powers of 1024.",
			Example: `Then the download should be between 100 KB and 2 MB`, Func: downloadSize(0, 1)},
		steps.Definition{Area: "web", Sentence: "the download should be at least {size}",
			Does:    "Fails when the last download is smaller than this.",
			Example: `Then the download should be at least 100 KB`, Func: downloadSize(0, -1)},
		steps.Definition{Area: "web", Sentence: "the download should be at most {size}",
			Does:    "Fails when the last download is larger than this.",
			Example: `Then the download should be at most 2 MB`, Func: downloadSize(-1, 0)},
		steps.Definition{Area: "web", Sentence: "the download should have the SHA-256 {text}",
			Does:    "Fails unless the SHA-256 of the last download is this, in hexadecimal digits as printed by sha256sum.",
			Example: `Then the download should have the SHA-256 "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`, Func: downloadSum},
		steps.Definition{Area: "web", Sentence: "the download should be of type {text}",
			Does:    "Fails unless the last download has this media type, without parameters.",
			Example: `Then the download should be of type "application/pdf"`, Func: downloadType},
		steps.Definition{Area: "web", Sentence: "the download should be named {text}",
			Does:    "Fails unless the last download is saved under this name: from Content-Disposition (RFC 6266), else from the link's download attribute, else from the end of the address.",
			Example: `Then the download should be named "price-list.pdf"`, Func: downloadName},
		steps.Definition{Area: "web", Sentence: "the download should take at most {duration}",
			Does:    "Fails when the last download took longer than this, from the request to the file's last byte.",
			Example: `Then the download should take at most 5s`, Func: downloadTook},
	)
}

// download is a file that a website served.
type download struct {
	from *address.URL // after redirects; nil when a script created the file
	name string
	kind string // its media type, empty when unknown
	size int64
	sum  [sha256.Size]byte
	took time.Duration

	given  bool // the site set the name
	untold bool // the header is unknown
}

func (d *download) String() string {
	if d.from == nil {
		return "the download " + wording.Quote(d.name)
	}
	return "the download of " + d.from.String()
}

// downloads holds the last file of a scenario.
type downloads struct{ last *download }

// passing measures a file while it is written to it.
type passing struct {
	sum  hash.Hash
	size int64
	head []byte
}

// headKept is how many bytes of a file's beginning are kept, to distinguish a page from a file.
const headKept = 4 << 10

func newPassing() *passing { return &passing{sum: sha256.New()} }

func (p *passing) Write(b []byte) (int, error) {
	if rest := headKept - len(p.head); rest > 0 {
		p.head = append(p.head, b[:min(rest, len(b))]...)
	}
	p.size += int64(len(b))
	return p.sum.Write(b)
}

// judge completes d from the file, or returns why it is not a file.
func (p *passing) judge(w *steps.World, act string, d *download) error {
	d.size = p.size
	p.sum.Sum(d.sum[:0])
	if p.size == 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s: the file is empty", act)
	}
	if !p.isPage(d.kind) || wantsPage(d.name) || d.from != nil && wantsPage(d.from.Path) {
		return nil
	}
	head := redact.PasswordFields(p.head)
	if p.size > int64(len(p.head)) {
		head = append(bytes.Clone(head), "…"...) // for the redactor too: a secret may go on
	}
	w.Attach("what came", "text/plain; charset=utf-8", bytes.ToValidUTF8(head, []byte("?")))
	what := "HTML"
	if d.kind != "" && !htmlType(d.kind) {
		what = "HTML that is called " + shownType(d.kind)
	}
	if doc, err := html.Parse(bytes.NewReader(p.head)); err == nil {
		what += titled(doc)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s: got a page instead of the file: %s", act, what)
}

func htmlType(kind string) bool { return kind == "text/html" || kind == "application/xhtml+xml" }

// isPage reports whether a file is declared as a page, or begins like one.
func (p *passing) isPage(kind string) bool {
	begin := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(p.head, []byte("\ufeff")), " \t\r\n"))
	return htmlType(kind) || bytes.HasPrefix(begin, []byte("<!doctype html")) || bytes.HasPrefix(begin, []byte("<html"))
}

// wantsPage reports whether a file of this name is a page.
func wantsPage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".html", ".htm", ".xhtml":
		return true
	}
	return false
}

func titled(doc *html.Node) string {
	if title, found := titleOf(doc); found {
		return ", titled " + wording.Quote(title)
	}
	return ""
}

// report measures a download and keeps it for the sentences that follow.
func (d *download) report(w *steps.World) {
	steps.State[downloads](w).last = d
	w.Measure("web_download_bytes", "Size of the downloaded file.", float64(d.size))
	w.Measure("web_download_seconds", "Time from the request for the file to its last byte.", d.took.Seconds())
	w.Note(fmt.Sprintf("%s, %s, %d bytes", wording.Quote(d.name), cmp.Or(shownType(d.kind), "of unknown type"), d.size))
}

func downloadURL(ctx context.Context, w *steps.World, a steps.Args) error {
	steps.State[downloads](w).last = nil
	u, err := resolve(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	var d *download
	if w.InBrowser {
		d, err = steps.State[browserSession](w).downloadBeside(ctx, w, u)
	} else {
		d, err = steps.State[httpSession](w).download(ctx, w, visit{method: http.MethodGet, url: u}, "")
	}
	if err != nil {
		return err
	}
	d.report(w)
	return nil
}

func downloadBehind(ctx context.Context, w *steps.World, a steps.Args) error {
	steps.State[downloads](w).last = nil
	var failed error
	err := acting(ctx, w, "download the file behind", a.Text(0), (*search).findClickable, func(e webEngine, f *search, n *html.Node) error {
		d, err := e.downloadBehind(ctx, w, f, n)
		var failure *steps.Failure
		switch {
		case err == nil:
			d.report(w)
		case errors.As(err, &failure) && failure.Reason == result.ReasonNotFound:
			return err // it was not clicked, and may be later
		}
		failed = err // a file is requested only once
		return nil
	})
	return cmp.Or(err, failed)
}

// download reads a file to its end. name is the one in the link, or empty.
func (s *httpSession) download(ctx context.Context, w *steps.World, v visit, name string) (*download, error) {
	file := newPassing()
	v.anySite = true
	v.save = func(r *http.Response) io.Writer {
		if r.StatusCode != http.StatusOK {
			return nil // the error page may be read later
		}
		return file
	}
	p, err := s.arrive(ctx, w, &v)
	defer p.release()
	if err != nil {
		return nil, err
	}
	act := v.String()
	if len(p.redirects) > 0 {
		act += " (after " + theRedirects(p) + ")"
	}
	if err := cmp.Or(p.proxyRefusal(act), p.refusedCertificate(act)); err != nil {
		return nil, err
	}
	switch {
	case p.StatusCode == http.StatusUnauthorized && p.Request.Header.Get("Authorization") != "":
		return nil, steps.Fail(result.ReasonAuth, result.BlameWeb, "%s: the credentials were refused with %s", act, p.status())
	case p.StatusCode != http.StatusOK:
		return nil, steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s: status %s, wanted 200 with a file", act, p.status())
	}
	name = cmp.Or(dispositionName(p.Header), parameter.FileName(name))
	d := &download{from: p.url, name: cmp.Or(name, addressName(p.url)), given: name != "", kind: mediaType(p.Header), took: p.took}
	return d, file.judge(w, act, d)
}

// dispositionName returns the name of a file from its header, or empty.
func dispositionName(h http.Header) string {
	_, name := parameter.Disposition(h.Get("Content-Disposition"))
	return name
}

func addressName(u *address.URL) string {
	name := path.Base(strings.ToValidUTF8(address.Decode(u.Path), "\ufffd"))
	if name == "/" || name == "." {
		return ""
	}
	return parameter.FileName(name)
}

func (s *httpSession) downloadBehind(ctx context.Context, w *steps.World, f *search, n *html.Node) (*download, error) {
	switch {
	case pagetree.IsLink(n):
		to, err := s.target(f, n)
		if err != nil {
			return nil, err
		}
		name, _ := pagetree.Attribute(n, "download")
		return s.download(ctx, w, visit{method: http.MethodGet, url: to, referrer: s.page.at(n).url}, name)
	case pagetree.ButtonType(n) == "":
		return nil, f.onlyByScript(n)
	}
	form, err := s.formSentBy(f, n)
	if err != nil {
		return nil, err
	}
	v, err := f.submission(form, n)
	if err != nil {
		return nil, err
	}
	return s.download(ctx, w, v, "")
}

// downloadBehind clicks n and reads the file that the browser saves.
func (s *browserSession) downloadBehind(ctx context.Context, w *steps.World, f *search, n *html.Node) (*download, error) {
	before, start := s.tab.Navigation(), time.Now()
	saved, err := s.tab.Download(ctx, waitInBrowser(w), httpwire.DownloadLimit(w).Most, func() error { return s.tab.Click(ctx, f.element(n)) })
	took := time.Since(start)
	var refused *browser.Refused
	switch {
	case errors.As(err, &refused):
		return nil, acted(ctx, f, err)
	case err != nil:
		return nil, s.unfinished(ctx, s.tab, err, f.act)
	case saved == nil:
		return s.shownInstead(ctx, w, f, before)
	}
	defer saved.Remove()
	u := address.Reported(saved.URL)
	if !u.IsWeb() {
		u = nil // a script created it
	}
	act := f.act
	if u != nil {
		act = "GET " + u.String()
	}
	switch {
	case saved.Late && errors.Is(context.Cause(ctx), steps.ErrStopped):
		return nil, browserFailure(ctx, context.Cause(ctx), act)
	case saved.Late:
		return nil, steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: the file was not complete before the deadline, got %d bytes", act, saved.Bytes)
	case saved.TooLarge:
		return nil, steps.FailNet(ctx, httpwire.DownloadLimit(w).Exceeded(), result.BlameWeb, act)
	case saved.Broken && saved.Header == nil && u != nil:
		// The browser does not report why: for example, the status of the target of a download attribute.
		if _, err := s.downloadBeside(ctx, w, u); err != nil {
			return nil, err
		}
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameWeb, "%s: the browser aborted the download after %d bytes, without a reason; over HTTP alone it works", act, saved.Bytes)
	case saved.Broken && saved.Total > 0:
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameWeb, "%s: read the file (%d of %d bytes): the server closed the connection", act, saved.Bytes, saved.Total)
	case saved.Broken:
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameWeb, "%s: read the file (%d bytes): the server closed the connection", act, saved.Bytes)
	}
	d := &download{from: u, name: saved.Name, given: u == nil || saved.Name != addressName(u), kind: mediaType(saved.Header), untold: saved.Header == nil, took: took}
	file := newPassing()
	if err := saved.Read(file); err != nil {
		return nil, browserFailure(ctx, err, f.act)
	}
	return d, file.judge(w, act, d)
}

// shownInstead returns the failure for a click that led to no file: to a page, to something that the browser shows
// itself, or nowhere.
func (s *browserSession) shownInstead(ctx context.Context, w *steps.World, f *search, before *browser.Navigation) (*download, error) {
	n := s.tab.Navigation()
	if n == nil || before != nil && n.Begun.Equal(before.Begun) || !n.Committed && n.Failed == "" {
		return nil, f.failure(result.ReasonTimeout, result.BlameWeb, "no download began within %s", waitInBrowser(w))
	}
	if r := n.Response(); r != nil && r.Status >= 400 && r.Status != http.StatusUnauthorized {
		return nil, steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s %s: status %d %s, wanted 200 with a file", r.Method, cutURL(r.URL), r.Status, r.StatusText)
	}
	if err := s.arrived(w, s.tab, before, f.act, false); err != nil {
		return nil, err
	}
	p, err := s.now(ctx, w)
	if err != nil {
		return nil, err
	}
	if p.isHTML() || p.Request.Method != http.MethodGet {
		what := shownType(p.mediaType())
		if doc, err := p.tree(); err == nil {
			what = "HTML" + titled(doc)
		}
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s %s: got a page instead of the file: %s", p.Request.Method, p.url, what)
	}
	return s.downloadBeside(ctx, w, p.url)
}

// downloadBeside requests a file over HTTP, as a visitor with the tab's cookies.
func (s *browserSession) downloadBeside(ctx context.Context, w *steps.World, u *address.URL) (*download, error) {
	beside, end, err := s.beside(ctx, w)
	if err != nil {
		return nil, err
	}
	defer end()
	return beside.download(ctx, w, visit{method: http.MethodGet, url: u}, "")
}

// lastDownload returns the last file of the scenario. It fails when no step has downloaded one.
func lastDownload(w *steps.World) (*download, error) {
	if d := steps.State[downloads](w).last; d != nil {
		return d, nil
	}
	return nil, steps.FailScenario("there is no download yet: write `I download \"https://www.example.org/file.pdf\"` before this step")
}

// downloadSize compares the size with the parameters of the sentence at these indices, -1 for none.
func downloadSize(least, most int) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		d, err := lastDownload(w)
		if err != nil {
			return err
		}
		var wanted []string
		fits := true
		for _, end := range []struct {
			at   int
			word string
		}{{least, "at least"}, {most, "at most"}} {
			if end.at < 0 {
				continue
			}
			size, err := steps.ParseSize(a.Text(end.at), 1<<10)
			if err != nil {
				return err
			}
			wanted = append(wanted, end.word+" "+a.Text(end.at))
			fits = fits && (end.at == least && d.size >= size || end.at == most && d.size <= size)
		}
		if fits {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be %s, got %d bytes", d, strings.Join(wanted, " and "), d.size)
	}
}

func downloadSum(_ context.Context, w *steps.World, a steps.Args) error {
	d, err := lastDownload(w)
	if err != nil {
		return err
	}
	wanted, err := hex.DecodeString(strings.TrimSpace(a.Text(0)))
	if err != nil || len(wanted) != sha256.Size {
		return steps.FailScenario("%q is not a SHA-256: write it as %d hexadecimal digits, as printed by sha256sum", a.Text(0), 2*sha256.Size)
	}
	if bytes.Equal(wanted, d.sum[:]) {
		return nil
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to have the SHA-256 %x, got %x (%d bytes)", d, wanted, d.sum, d.size)
}

func downloadType(_ context.Context, w *steps.World, a steps.Args) error {
	d, err := lastDownload(w)
	switch wanted := a.Text(0); {
	case err != nil:
		return err
	case !strings.Contains(wanted, "/") || strings.Contains(wanted, ";"):
		return steps.FailScenario("%q is not a media type: write it as \"application/pdf\"", wanted)
	case strings.EqualFold(wanted, d.kind):
		return nil
	case d.kind == "" && d.untold:
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the media type of %s is unknown: the browser does not report it for a file that no navigation led to", d)
	case d.kind == "":
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be of type %q: it has no Content-Type", d, wanted)
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be of type %q, got %s", d, wanted, shownType(d.kind))
	}
}

func downloadName(_ context.Context, w *steps.World, a steps.Args) error {
	d, err := lastDownload(w)
	switch {
	case err != nil || d.name == a.Text(0):
		return err
	case a.Text(0) == "":
		return steps.FailScenario("the name is empty: write it as \"price-list.pdf\"")
	case d.given:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be named %q, got %s", d, a.Text(0), wording.Quote(d.name))
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be named %q: no Content-Disposition names it, so it is saved as %s", d, a.Text(0), wording.Quote(d.name))
	}
}

func downloadTook(_ context.Context, w *steps.World, a steps.Args) error {
	d, err := lastDownload(w)
	if err != nil {
		return err
	}
	limit, err := a.Duration(0)
	if err != nil || d.took <= limit {
		return err
	}
	return steps.Fail(result.ReasonSlow, result.BlameWeb, "expect %s to take at most %s, got %s for %d bytes", d, a.Text(0), d.took.Round(time.Millisecond), d.size)
}
