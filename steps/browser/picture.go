package browser

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	_ "image/png" // what the browser sends
	"math"

	"github.com/chromedp/cdproto/page"
)

// box is a place in the window: left, top, width, height.
type box [4]float64

// Picture gives the visible part of the page as a JPEG of at most so many bytes. Password fields are painted over, and
// every place whose text holds one of the secrets, and every frame that has such a place or cannot be looked into. A secret is
// a regular expression of JavaScript, matched against text without its white space. What a page draws without text, on a
// canvas or in an image, is not known.
func (t *Tab) Picture(ctx context.Context, secrets []string, limit int) ([]byte, error) {
	if secrets == nil {
		secrets = []string{}
	}
	// The page may change while its picture is taken, so what must not be seen is looked for before and after.
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

// qualities of the JPEG, of which the first one counts that makes it small enough.
var qualities = []int{70, 45, 20, 5}

var errTooLarge = errors.New("it is larger than what is kept of one")

// capture takes a picture of a page that has nothing to hide. The browser makes the JPEG, in a fraction of the time that it
// takes to read one of its pictures and write another.
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

// paint takes a picture and paints these places over, and those that are found after it.
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
	const edge = 2 // letters may stand out of their boxes
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

// masked gives the places that a picture must not show.
func (t *Tab) masked(ctx context.Context, secrets []string) ([]box, error) {
	var boxes []box
	private := false // in a frame, whose place is not worked out
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
