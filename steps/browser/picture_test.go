package browser_test

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
)

// secretive shows the secret "s3 same" in red in every way, including password fields, and something public in green.
const secretive = `<!DOCTYPE html><style>body { font: bold 40px monospace; color: #f00; margin: 20px } input, textarea, select { font: inherit; color: #f00 }
.free { background: #0a0; width: 200px; height: 60px; color: #0a0 } div, p { margin: 6px }</style>
<div class=free></div><p>Hi s3 same</p><p>s3 <b>sa</b><i>me</i></p><p>s3
  same</p><p style="text-transform: uppercase">s3 same</p>
<div><input value="s3 same"><input type=password value=other></div><div><input placeholder="s3 same"></div>
<div><select><option>s3 same<option>b</select><textarea rows=1>s3 same</textarea></div>
<div id=host></div><iframe src=/inner width=400 height=80 style="border:0"></iframe>
<object data=/inner width=300 height=60></object><embed src=/inner type=text/html width=300 height=60>
<p title="s3 same" style="position:absolute; left:700px; top:30px; transform: rotate(10deg)">s3 same</p>
<style>.made::after { content: attr(data-x) }</style><div class=made data-x="s3 same"></div>
<script>document.getElementById("host").attachShadow({mode: "open"}).innerHTML = "<p style='margin:0'>s3 same</p>"</script>`

// TestPicture searches the pixels of a picture for those of a secret.
func TestPicture(t *testing.T) {
	t.Parallel()
	b := started(t, browser.Options{})
	mux := http.NewServeMux()
	for path, body := range map[string]string{"/{$}": secretive, "/open": "<style>div { background: #0a0; width: 200px; height: 60px }</style><div></div><p style='color:#f00;font:bold 80px monospace'>for all",
		"/inner": "<body style='color:#f00;font:bold 40px monospace;margin:0'>s3 same"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, body)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ctx := within(t, 60*time.Second)
	tab := opened(ctx, t, b)
	if err := tab.Go(ctx, server.URL+"/", ""); err != nil {
		t.Fatal(err)
	}
	look := func(secrets []string, limit int) (red, green, black int) {
		encoded, err := tab.Picture(ctx, secrets, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) > limit {
			t.Errorf("%d bytes, wanted %d at most", len(encoded), limit)
		}
		shot, err := jpeg.Decode(bytes.NewReader(encoded))
		if err != nil {
			t.Fatal(err)
		}
		keepPicture(t, len(secrets), shot)
		pixels := image.NewRGBA(shot.Bounds()) // reading its bytes is much faster than At
		draw.Draw(pixels, pixels.Bounds(), shot, shot.Bounds().Min, draw.Src)
		for pixel := range slices.Chunk(pixels.Pix, 4) {
			switch r, g, b := int(pixel[0]), int(pixel[1]), int(pixel[2]); {
			case r > g+40 && r > b+40:
				red++
			case g > r+100 && g > b+100:
				green++
			case r < 20 && g < 20 && b < 20:
				black++
			}
		}
		return red, green, black
	}
	if red, green, _ := look(nil, 256<<10); red < 2000 || green < 10000 {
		t.Fatalf("without secrets %d red and %d green pixels: the page is not what this test is about", red, green)
	}
	for _, limit := range []int{256 << 10, 24 << 10} {
		if red, green, black := look([]string{"s3same"}, limit); red > 0 || green < 10000 || black < 10000 {
			t.Errorf("%d pixels of the secret are left, %d of what all may see, %d are painted over", red, green, black)
		}
	}
	if _, err := tab.Picture(ctx, nil, 100); err == nil {
		t.Error("a picture of 100 bytes")
	}
	if err := tab.Go(ctx, server.URL+"/open", ""); err != nil {
		t.Fatal(err)
	}
	best, err := tab.Picture(ctx, nil, 256<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{len(best), len(best) - 1} { // the second needs a lower quality
		if red, green, _ := look([]string{"s3same"}, limit); red < 2000 || green < 10000 {
			t.Errorf("%d red and %d green pixels of a page that has nothing to hide", red, green)
		}
	}
	if _, err := tab.Picture(ctx, nil, 100); err == nil {
		t.Error("a picture of 100 bytes of an open page")
	}
}

// keepPicture writes a picture to the directory in STEPWATCH_PICTURES, for manual inspection.
func keepPicture(t *testing.T, number int, shot image.Image) {
	t.Helper()
	dir := os.Getenv("STEPWATCH_PICTURES")
	if dir == "" {
		return
	}
	f, err := os.Create(fmt.Sprintf("%s/picture-%d.png", dir, number))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, shot); err != nil {
		t.Fatal(err)
	}
}
