package browser_test

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
)

// timed is a page with a slow server. It also measures itself and puts the results into its title.
const timed = `<!DOCTYPE html><link rel=stylesheet href=/style.css><title></title>
<p id=top>A small text</p><div id=pushed>Pushed down later</div><img id=hero src=/hero.png width=600 height=500>
<script src=/missing.js></script>
<script>
console.error("first", "fault"); console.log("no fault"); setTimeout(() => { throw new Error("uncaught") });
const own = {shift: 0, largest: 0};
new PerformanceObserver((l) => { for (const e of l.getEntries()) own.largest = e.startTime }).observe({type: "largest-contentful-paint", buffered: true});
new PerformanceObserver((l) => { for (const e of l.getEntries()) own.shift += e.value }).observe({type: "layout-shift", buffered: true});
addEventListener("load", () => {
  setTimeout(() => document.getElementById("top").insertAdjacentHTML("afterend", "<div style='height:150px'></div>"), 50);
  setTimeout(() => {
    const n = performance.getEntriesByType("navigation")[0];
    own.ready = n.domContentLoadedEventStart; own.load = n.loadEventStart; own.wait = n.responseStart - n.requestStart;
    own.rest = n.loadEventStart - n.responseEnd;
    own.first = performance.getEntriesByName("first-contentful-paint")[0].startTime;
    document.title = JSON.stringify(own);
  }, 500);
});
</script>`

// counting counts the bytes that a server writes.
type counting struct {
	net.Listener
	wrote atomic.Int64
}

type countingConn struct {
	net.Conn
	wrote *atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return &countingConn{conn, &c.wrote}, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wrote.Add(int64(n))
	return n, err
}

const (
	documentDelay = 120 * time.Millisecond
	heroDelay     = 400 * time.Millisecond
)

// slowSite serves the page timed.
func slowSite(t *testing.T) (url string, wrote *atomic.Int64) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		await(r, documentDelay)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, timed)
	})
	mux.HandleFunc("/missing.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.WriteHeader(http.StatusNotFound)
	})
	mux.HandleFunc("/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		fmt.Fprint(w, "img { display: block }")
	})
	mux.HandleFunc("/hero.png", func(w http.ResponseWriter, r *http.Request) {
		await(r, heroDelay)
		noise := image.NewRGBA(image.Rect(0, 0, 300, 250)) // an image of few bytes counts as a background
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 300 * 250 {
			noise.Set(i%300, i/300, color.Gray{uint8(random.Uint32())})
		}
		w.Header().Set("Content-Type", "image/png")
		_ = png.Encode(w, noise)
	})
	server := httptest.NewUnstartedServer(mux)
	listener := &counting{Listener: server.Listener}
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, &listener.wrote
}

func await(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// TestVitals compares the measurements with those of the page, with the delays of the server and with the bytes that it
// wrote.
func TestVitals(t *testing.T) {
	b := started(t, browser.Options{})
	url, wrote := slowSite(t)
	ctx := within(t, 30*time.Second)
	tab := opened(ctx, t, b)
	start := time.Now()
	if err := tab.Go(ctx, url+"/", ""); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if _, err := tab.Quiet(ctx, 700*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	v, err := tab.Vitals(ctx, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	looked := time.Since(start)
	shot, err := tab.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var own struct{ Ready, Load, First, Largest, Shift, Wait, Rest float64 }
	_, title := named(t, shot, "title", "")
	if err := json.Unmarshal([]byte(textOf(title)), &own); err != nil {
		t.Fatalf("%v: %q", err, textOf(title))
	}
	for _, c := range []struct {
		name        string
		got         time.Duration
		own         float64
		least, most time.Duration // by the clock of the server and ours
	}{
		{"DOMContentLoaded", v.Ready, own.Ready, documentDelay, v.Load},
		{"load", v.Load, own.Load, documentDelay + heroDelay, took},
		{"first paint", v.FirstPaint, own.First, documentDelay, v.LargestPaint},
		{"largest paint", v.LargestPaint, own.Largest, documentDelay + heroDelay, looked},
	} {
		if page := time.Duration(c.own * float64(time.Millisecond)); (c.got-page).Abs() > time.Microsecond || c.got < c.least || c.got > c.most {
			t.Errorf("%s after %s, the page says %s; at least %s, at most %s", c.name, c.got, page, c.least, c.most)
		}
	}
	if math.Abs(v.Shift-own.Shift) > 1e-9 || v.Shift < 0.04 {
		t.Errorf("shifted by %v, the page says %v", v.Shift, own.Shift)
	}
	if v.Largest != `<img id="hero">` || v.Shifted == "" {
		t.Errorf("the largest was %s, shifted was %s", v.Largest, v.Shifted)
	}
	n := tab.Navigation()
	wait := time.Duration(own.Wait * float64(time.Millisecond))
	if p := n.Response().Processing; (p-wait).Abs() > 5*time.Millisecond || p < documentDelay {
		t.Errorf("processing took %s, the page says %s, the server %s", p, wait, documentDelay)
	}
	// How long an event of the browser takes to reach us depends on the machine: up to the time of the command beyond
	// that of the page.
	slack := took - v.Load + 50*time.Millisecond
	ours, ended := n.Took()
	if !ended || ours > took || (ours-v.Load).Abs() > slack {
		t.Errorf("the navigation took %s (%t) by our clock, %s by the page's, %s with the command", ours, ended, v.Load, took)
	}
	page := time.Duration(own.Rest * float64(time.Millisecond))
	if rest := n.Rest(); rest < heroDelay-10*time.Millisecond || (rest-page).Abs() > slack {
		t.Errorf("the load event came %s after the document, the page says %s, the picture takes %s", rest, page, heroDelay)
	}
	a := tab.Activity()
	var bytes int64
	var made []string
	for _, r := range a.Requests {
		bytes += r.Bytes
		made = append(made, fmt.Sprintf("%s %d", strings.TrimPrefix(r.URL, url), r.Status))
	}
	if got, want := strings.Join(made, ", "), "/ 200, /style.css 200, /hero.png 200, /missing.js 404"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
	if bytes != wrote.Load() {
		t.Errorf("transferred %d bytes, the server wrote %d", bytes, wrote.Load())
	}
	var logged []string
	for _, m := range a.Errors {
		line, _, _ := strings.Cut(m.Text, "\n")
		logged = append(logged, line)
	}
	if got, want := strings.Join(logged, ", "), "first fault, Uncaught Error: uncaught"; got != want {
		t.Errorf("errors %s, want %s", got, want)
	}
}

// TestVitalsWithoutScripts uses pages whose sandbox forbids scripts, including ours: no wait may hang, and our actions
// must not be logged as errors of the page.
func TestVitalsWithoutScripts(t *testing.T) {
	b := started(t, browser.Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "sandbox")
		if r.URL.Path == "/text" {
			fmt.Fprint(w, "<title>x</title><p>A text</p>")
		}
	}))
	t.Cleanup(server.Close)
	ctx := within(t, 30*time.Second)
	tab := opened(ctx, t, b)
	for path, c := range map[string]struct {
		painted           bool
		wait, least, most time.Duration
	}{
		"/":     {false, 300 * time.Millisecond, 300 * time.Millisecond, 10 * time.Second},
		"/text": {true, 20 * time.Second, 0, 10 * time.Second},
	} {
		if err := tab.Go(ctx, server.URL+path, ""); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		v, err := tab.Vitals(ctx, c.wait)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); (v.LargestPaint >= 0) != c.painted || took < c.least || took > c.most {
			t.Errorf("%s: painted after %s, which was read in %s", path, v.LargestPaint, took)
		}
		if err := tab.Changed(ctx); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if errs := tab.Activity().Errors; len(errs) > 0 {
			t.Errorf("%s logged %q", path, errs)
		}
	}
}
