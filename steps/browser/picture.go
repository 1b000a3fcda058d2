package browser

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	_ "image/png" // the format that the browser sends
	"math"

	"github.com/chromedp/cdproto/page"
)

// box is a rectangle in the window: left, top, width, height.
type box [4]float64

// Picture returns the visible part of the page as a JPEG of at most limit bytes. It paints over password fields, every
// place whose text contains one of the secrets, and every frame with such a place or that cannot be read. A secret is a
// regular expression of JavaScript, matched against text without its white space. Text that a page draws in a canvas or
// an image is not recognized.
func (t *Tab) Picture(ctx context.Context, secrets []string, limit int) ([]byte, error) {
	if secrets == nil {
		secrets = []string{}
	}
	// The page may change while its picture is taken, so the places to hide are searched before and after.
	hidden, err := t.masked(ctx, secrets)
	if err != nil {
		return nil, err
	}
	if len(hidden) == 0 {
		picture, err := t.capture(ctx, limit)
		if err != nil {
			return nil, err
		}
		if hidden, err = t.masked(ctx, secrets); err != nil {
			return nil, err
		}
		if len(hidden) == 0 {
			return picture, nil
		}
	}
	return t.paint(ctx, hidden, secrets, limit)
}

// qualities of the JPEG. The first one that makes it small enough is used.
var qualities = []int{70, 45, 20, 5}

var errTooLarge = errors.New("it is larger than the limit")

// capture takes a picture of a page with nothing to hide. The browser creates the JPEG, which is much faster than
// decoding its picture and encoding another.
func (t *Tab) capture(ctx context.Context, limit int) ([]byte, error) {
	fast := true
	for _, quality := range qualities {
		quality := int64(quality)
		got, err := command(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatJpeg, Quality: &quality, OptimizeForSpeed: &fast})
		if err != nil {
			return nil, err
		}
		if len(got.Data) <= limit {
			return got.Data, nil
		}
	}
	return nil, &Broken{"write the picture of the page", errTooLarge}
}

// paint takes a picture and paints over these places, and those found after it.
func (t *Tab) paint(ctx context.Context, before []box, secrets []string, limit int) ([]byte, error) {
	fast := true
	got, err := command(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{OptimizeForSpeed: &fast})
	if err != nil {
		return nil, err
	}
	after, err := t.masked(ctx, secrets)
	if err != nil {
		return nil, err
	}
	var scale float64
	if err := t.evaluate(ctx, t.main, &scale, "pixels"); err != nil {
		return nil, err
	}
	shot, _, err := image.Decode(bytes.NewReader(got.Data))
	if err != nil {
		return nil, &Broken{"read the picture of the page", err}
	}
	canvas := image.NewRGBA(shot.Bounds())
	draw.Draw(canvas, canvas.Bounds(), shot, shot.Bounds().Min, draw.Src)
	const edge = 2 // letters may extend beyond their boxes
	for _, b := range append(before, after...) {
		r := image.Rect(int(math.Floor((b[0]-edge)*scale)), int(math.Floor((b[1]-edge)*scale)),
			int(math.Ceil((b[0]+b[2]+edge)*scale)), int(math.Ceil((b[1]+b[3]+edge)*scale)))
		draw.Draw(canvas, r.Intersect(canvas.Bounds()), image.NewUniform(color.Black), image.Point{}, draw.Src)
	}
	for _, quality := range qualities {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, canvas, &jpeg.Options{Quality: quality}); err != nil {
			return nil, &Broken{"write the picture of the page", err}
		}
		if out.Len() <= limit {
			return out.Bytes(), nil
		}
	}
	return nil, &Broken{"write the picture of the page", errTooLarge}
}

// masked returns the places that a picture must not show.
func (t *Tab) masked(ctx context.Context, secrets []string) ([]box, error) {
	var boxes []box
	private := false // in a frame whose position is not computed
	ids := t.frameIDs()
	frames := 0
	for i, id := range ids {
		var found struct {
			Boxes  []box `json:"boxes"`
			Frames int   `json:"frames"`
		}
		if err := t.evaluate(ctx, id, &found, "mask", secrets); err != nil {
			if i == 0 {
				return nil, err
			}
			private = true
			continue
		}
		frames += found.Frames
		if i == 0 {
			boxes = found.Boxes
		} else {
			private = private || len(found.Boxes) > 0
		}
	}
	if !private && frames == len(ids)-1 {
		return boxes, nil
	}
	var found struct {
		Boxes []box `json:"boxes"`
	}
	if err := t.evaluate(ctx, t.main, &found, "frameBoxes"); err != nil {
		return nil, err
	}
	return append(boxes, found.Boxes...), nil
}
